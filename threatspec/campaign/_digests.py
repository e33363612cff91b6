"""Digests of the program's own source: what computes a result is part of the result's id."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

import threatspec
from threatspec.errors import ThreatspecError
from threatspec.records import Plan

__all__ = ["PROGRAM", "check_code", "source_digest"]

PROGRAM = ("attacks", "campaign", "measures", "records", "runners", "subjects", "training")
"""Rooms whose source a campaign's rows depend on."""

_ROOT = Path(threatspec.__file__).resolve().parent


@lru_cache(maxsize=64)
def source_digest(*places: str) -> str:
    """sha256 over the source of modules and rooms, e.g. `("training", "attacks.prefill")`."""
    digest = hashlib.sha256()
    for place in places:
        for path in _files(place):
            digest.update(path.relative_to(_ROOT).as_posix().encode() + b"\0")
            digest.update(path.read_bytes())
    return digest.hexdigest()


def check_code(plan: Plan) -> None:
    """Raises ThreatspecError TS-CODE-CHANGED if this program did not write `plan`."""
    if plan.digests.get("threatspec") != source_digest(*PROGRAM):
        raise ThreatspecError(
            "TS-CODE-CHANGED",
            "an unfinished campaign must be resumed by the program that planned it, but the source "
            "has changed since; run it again with another --out",
        )


def _files(place: str) -> list[Path]:
    path = _ROOT.joinpath(*place.split("."))
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
    if not all(file.exists() for file in files):
        raise FileNotFoundError(f"{place} must be a module or a room of the program")
    return files
