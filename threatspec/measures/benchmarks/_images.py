"""Images that rows of a file name: files beside it, or references that mean the same anywhere."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from threatspec.errors import ThreatspecError
from threatspec.measures.base import Item
from threatspec.subjects.images import PACKAGED

__all__ = ["placed"]

_ANYWHERE = frozenset({*PACKAGED, "photo"})
_FILE = "file:"


def placed(
    items: Sequence[Item], beside: Path, way: str, shown: str
) -> tuple[tuple[Item, ...], dict[str, str]]:
    """Items whose images are told from the folder of the spec, and sha256 of these files by the
    names that rows give them.

    Args:
        beside: folder of the rows' file, from which rows tell images.
        way: from the folder of the spec to that one.
        shown: name of the file, for messages.

    Raises ThreatspecError TS-IMAGE for a file that is not there.
    """
    found: list[Item] = []
    digests: dict[str, str] = {}
    for item in items:
        name = item.image.removeprefix(_FILE)
        if not name or item.image.partition(":")[0] in _ANYWHERE:
            found.append(item)
            continue
        if name not in digests:
            digests[name] = _digest(beside / name, name, item.id, shown)
        found.append(item.model_copy(update={"image": f"{_FILE}{PurePosixPath(way, name)}"}))
    return tuple(found), digests


def _digest(path: Path, name: str, item: str, shown: str) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        text = f"{shown} must name images that are files, but {name!r} of item {item!r} is none"
        raise ThreatspecError("TS-IMAGE", f"{text}: {error.strerror or error}") from None
