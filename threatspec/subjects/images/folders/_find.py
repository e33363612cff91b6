"""From `cifar10:PATH` to the folder that it means."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from threatspec.errors import ThreatspecError
from threatspec.subjects.images._files import stamp_of
from threatspec.subjects.images.folders._base import ImageFolder
from threatspec.subjects.images.folders._cifar10 import Cifar10
from threatspec.subjects.images.folders._gtsrb import Gtsrb
from threatspec.subjects.images.folders._imagenet import Imagenet

__all__ = ["FOLDERS", "image_folder", "is_folder_name"]

FOLDERS: dict[str, type[ImageFolder]] = {one.kind: one for one in (Cifar10, Gtsrb, Imagenet)}
"""By what stands before the colon."""


def is_folder_name(name: str) -> bool:
    """Whether a name is one of a user's folder, as `cifar10:PATH`."""
    kind, colon, path = name.partition(":")
    return kind in FOLDERS and bool(colon and path)


def image_folder(name: str, folder: Path) -> ImageFolder:
    """The set that `KIND:PATH` means, paths relative to `folder`.

    Raises ThreatspecError TS-FILE-MISSING if there is no such folder.
    """
    kind, _, path = name.partition(":")
    place = (folder / Path(path).expanduser()).resolve()
    if not place.is_dir():
        text = f"{name} must be a folder with your copy of the set, but {place} is none"
        raise ThreatspecError("TS-FILE-MISSING", f"{text}; get it from {FOLDERS[kind].source}")
    stamps = tuple(stamp_of(one) for one in FOLDERS[kind].held(place))
    return _known(kind, place, path, stamps)


@lru_cache(maxsize=8)
def _known(kind: str, place: Path, shown: str, stamps: tuple[tuple[int, int], ...]) -> ImageFolder:
    return FOLDERS[kind](place, shown)
