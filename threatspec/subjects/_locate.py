"""From a model's reference to its files, its size and its digest; no torch.

`specimen:NAME` ships with the program, `path:FOLDER` is a folder in the layout of `transformers`,
`gguf:NAME` was fetched by `threatspec models fetch NAME`, `hf:REPO@REVISION` comes from a hub.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from threatspec.errors import ThreatspecError, did_you_mean
from threatspec.subjects._card import Offer, SubjectCard
from threatspec.subjects._fetch import FETCHABLE, fetched_folder
from threatspec.subjects.images._cards import image_card
from threatspec.subjects.specimens import SEEING, SPECIMENS, specimen_weights
from threatspec.subjects.specimens._config import specimen_config, specimen_digest

__all__ = ["check_reference", "describe", "locate"]

_IDENTITY = (
    *("*.safetensors", "config.json", "tokenizer*.json", "chat_template*", "special_tokens*"),
    *("preprocessor_config.json", "processor_config.json"),
    *("added_tokens.json", "vocab*", "merges.txt", "*.model"),
)
_LANGUAGE_MODEL = frozenset(Offer) - {Offer.IMAGE, Offer.CLASSES}


def locate(ref: str, folder: Path = Path()) -> Path:
    """Folder of a model, or the weights file of a specimen; `path:` is relative to `folder`.

    Raises ThreatspecError TS-MODEL-MISSING with what can be done.
    """
    kind, name = _checked(ref)
    return _FINDERS[kind](folder / Path(name).expanduser() if kind == "path" else name)


def check_reference(ref: str) -> None:
    """What can be said of a reference alone. Raises ThreatspecError TS-MODEL-MISSING."""
    if ref.startswith("endpoint:"):
        from threatspec.subjects._api import parse_endpoint

        parse_endpoint(ref)
    else:
        _checked(ref)


def describe(ref: str, folder: Path = Path()) -> SubjectCard:
    """Size and identity of a model, read from its files; `path:` is relative to `folder`.

    Raises ThreatspecError TS-MODEL-MISSING or TS-MODEL-DIGEST.
    """
    if ref.startswith("endpoint:"):
        from threatspec.subjects._endpoint import describe_endpoint

        return describe_endpoint(ref)
    place = locate(ref, folder)
    if ref.startswith("specimen:"):
        return _specimen_card(ref, place) if place.is_file() else _seeing_specimen(ref, place)
    return _folder_card(ref, place)


def _checked(ref: str) -> tuple[str, str]:
    """Kind and name of a well-formed reference."""
    kind, colon, name = ref.partition(":")
    if not colon or kind not in _FINDERS:
        kinds = ", ".join(f"{known}:..." for known in (*_FINDERS, "endpoint"))
        raise _missing(f"a model must be one of {kinds}, but got {ref!r}")
    known = {"specimen": sorted({**SPECIMENS, **SEEING}), "gguf": sorted(FETCHABLE)}.get(kind)
    if known is not None and name not in known:
        raise _missing(f"unknown {kind} model {name!r}{did_you_mean(name, known)}")
    if kind == "hf" and not all(name.partition("@")):
        raise _missing(f"hf: must name a revision (hf:REPO@REVISION), but got {name!r}")
    return kind, name


def _specimen(name: str) -> Path:
    weights = specimen_weights(name)
    if not weights.exists():
        raise _missing(f"specimen:{name} must lie in {weights}; rebuild it with `make specimens`")
    return weights


def _folder(place: Path) -> Path:
    return _with_weights("path:", place)


def _with_weights(ref: str, folder: Path) -> Path:
    if not (folder / "config.json").is_file():
        text = f"{ref} must be a folder with config.json and weights, but {folder} is none"
        raise _missing(text)
    if not any(folder.glob("*.safetensors")):
        raise _missing(f"{folder} must hold weights as *.safetensors, but has none")
    return folder


def _gguf(name: str) -> Path:
    folder = fetched_folder(name)
    if not (folder / "config.json").is_file():
        raise _missing(f"gguf:{name} is not there; get it with: threatspec models fetch {name}")
    return folder


def _hub(name: str) -> Path:
    repository, _, revision = name.partition("@")
    from huggingface_hub import snapshot_download

    patterns = ["*.safetensors", "*.json", "*.jinja", "tokenizer.model"]
    try:
        place = snapshot_download(repository, revision=revision, allow_patterns=patterns)
    except Exception as error:
        text = (str(error).splitlines() or [type(error).__name__])[0]
        raise _missing(f"hf:{name} is neither in the local cache nor on the hub: {text}") from error
    return _with_weights(f"hf:{name}", Path(place))


_FINDERS: dict[str, Callable[[Any], Path]] = {
    "specimen": _specimen,
    "path": _folder,
    "gguf": _gguf,
    "hf": _hub,
}


def _missing(message: str) -> ThreatspecError:
    return ThreatspecError("TS-MODEL-MISSING", message)


def _seeing_specimen(ref: str, folder: Path) -> SubjectCard:
    card = _folder_card(ref, folder)
    _check_digest(folder.name, card.digest)
    return card


def _check_digest(name: str, digest: str) -> None:
    if digest != specimen_digest(name):
        raise ThreatspecError(
            "TS-MODEL-DIGEST",
            f"specimen:{name} must have the sha256 written in digests.json, but has {digest[:16]}; "
            "install the program again, or rebuild the specimens with `make specimens`",
        )


def _specimen_card(ref: str, weights: Path) -> SubjectCard:
    digest = _file_digest(weights)
    _check_digest(weights.stem, digest)
    config = specimen_config()
    return SubjectCard(
        ref=ref,
        digest=digest,
        parameters=_parameters([weights]),
        layers=config["num_hidden_layers"],
        hidden=config["hidden_size"],
        vocabulary=config["vocab_size"],
        context=config["max_position_embeddings"],
        tokens_per_word=1.0,
        template_tokens=5,
        offers=_LANGUAGE_MODEL,
    )


def _folder_card(ref: str, folder: Path) -> SubjectCard:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        files = sorted(folder.glob("*.safetensors"))
        digest, parameters = _folder_digest(folder), _parameters(files)
        known = {"ref": ref, "digest": digest, "parameters": parameters}
        norms = _batch_norms(files)
        if seeing := image_card(folder, config, _metadata(files[0]), batch_norms=norms, **known):
            return seeing
        return SubjectCard(
            ref=ref,
            digest=digest,
            parameters=parameters,
            layers=config["num_hidden_layers"],
            hidden=config["hidden_size"],
            vocabulary=config["vocab_size"],
            context=config["max_position_embeddings"],
            tokens_per_word=1.5,
            offers=_LANGUAGE_MODEL,
        )
    except KeyError as error:
        text = f"{folder}/config.json must describe a causal language model, but has no {error}"
        raise _missing(text) from None
    except (TypeError, ValueError) as error:
        text = f"{folder}/config.json must describe a causal language model, but: {error}"
        raise _missing(text.splitlines()[0]) from None


def _parameters(files: list[Path]) -> int:
    return sum(
        math.prod(entry["shape"])
        for file in files
        for name, entry in _header(file).items()
        if name != "__metadata__"
    )


def _batch_norms(files: list[Path]) -> int:
    """Layers that keep statistics of batches."""
    return sum(name.endswith("running_mean") for file in files for name in _header(file))


def _metadata(file: Path) -> dict[str, str]:
    found: dict[str, str] = _header(file).get("__metadata__", {})
    return found


def _header(file: Path) -> dict[str, Any]:
    """The JSON header of a safetensors file: 8 bytes of length, then text."""
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header: dict[str, Any] = json.loads(stream.read(min(length, file.stat().st_size)))
    except ValueError as error:
        text = f"{file} must be a file of safetensors, but its header cannot be read: {error}"
        raise ThreatspecError("TS-MODEL-DIGEST", text) from None
    return header


def _folder_digest(folder: Path) -> str:
    found = sorted({path for pattern in _IDENTITY for path in folder.glob(pattern)})
    lines = [f"{path.name} {_file_digest(path)}" for path in found]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _file_digest(path: Path) -> str:
    state = path.stat()
    return _digest_of_state(path.resolve(), state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=256)
def _digest_of_state(path: Path, modified_ns: int, size: int) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
