"""What can be said of a classifier's folder without loading it; no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from threatspec.errors import ThreatspecError, did_you_mean

__all__ = ["digest_of", "require_labels", "room_of"]

_FILES = ("*.safetensors", "*.json", "*.txt", "*.model", "merges.txt")
"""Weights, configuration and tokenizer."""


def digest_of(folder: Path) -> str:
    """Digest of a classifier's files. Raises ThreatspecError TS-MODEL-MISSING."""
    if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
        text = f"{folder} must hold a classifier (config.json and *.safetensors), but does not"
        raise ThreatspecError("TS-MODEL-MISSING", text)
    found = sorted({path for pattern in _FILES for path in folder.glob(pattern)})
    lines = [f"{path.name} {_digest(path, *_state(path))}" for path in found]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _state(path: Path) -> tuple[int, int]:
    state = path.stat()
    return state.st_mtime_ns, state.st_size


@lru_cache(maxsize=128)
def _digest(path: Path, modified_ns: int, size: int) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _config(folder: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        dict(found["id2label"])
    except (OSError, ValueError, TypeError, KeyError):
        text = f"{folder}/config.json must describe a classifier with labels (`id2label`)"
        raise ThreatspecError("TS-JUDGE", text) from None
    return found


def require_labels(folder: Path, labels: Sequence[str]) -> None:
    """Raises ThreatspecError TS-JUDGE for a label that the classifier does not have."""
    known = sorted(map(str, _config(folder)["id2label"].values()))
    for label in labels:
        if label not in known:
            text = f"labels must be some of {', '.join(known)}, but got {label!r}"
            raise ThreatspecError("TS-JUDGE", f"{text}{did_you_mean(label, known)}")


def room_of(folder: Path) -> int:
    """Tokens that the classifier can read at once; without a word of it, 512."""
    found = _config(folder)
    return int(found.get("max_position_embeddings") or 512)
