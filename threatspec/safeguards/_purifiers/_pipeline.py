"""A pipeline of diffusers in a folder: whether it can be used, and its digest; none is loaded."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path

from threatspec.errors import ThreatspecError

__all__ = ["pipeline_digest"]

_PARTS = ("scheduler", "unet")


def pipeline_digest(folder: Path) -> str:
    """sha256 of what is read of a pipeline, names included.

    Raises ThreatspecError TS-MISSING-EXTRA without the package, TS-FILE-MISSING for a folder that
    is no pipeline.
    """
    if find_spec("diffusers") is None:
        text = "a diffusion purifier needs diffusers, which is not installed: pip install "
        raise ThreatspecError("TS-MISSING-EXTRA", f"{text}'threatspec-claims[diffusion]'")
    for part in _PARTS:
        if not (folder / part).is_dir():
            text = f"a diffusion purifier must be a pipeline of diffusers, but {folder / part} is "
            raise ThreatspecError("TS-FILE-MISSING", f"{text}no folder")
    found = hashlib.sha256()
    for file in sorted(file for part in _PARTS for file in (folder / part).iterdir()):
        if file.is_file():
            with file.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            found.update(f"{file.parent.name}/{file.name} {digest}\n".encode())
    return found.hexdigest()
