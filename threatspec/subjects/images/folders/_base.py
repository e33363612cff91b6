"""What a folder of labelled images offers, whatever its layout."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from threatspec.errors import ThreatspecError, did_you_mean

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "PARTS",
    "ImageFolder",
    "Part",
    "bad_layout",
    "first_that_is",
    "listed",
    "unknown_image",
]

Part = Literal["train", "test"]
"""As the set's authors have divided it."""
PARTS: dict[str, Part] = {"train": "train", "test": "test"}
"""By name."""


class ImageFolder(ABC):
    """Labelled images in a folder; nothing in it is run, nothing is read before it is asked for.

    Args:
        path: the folder.
        shown: how the user has named it, for messages.
    """

    kind: ClassVar[str]
    says: ClassVar[str]
    licence: ClassVar[str]
    source: ClassVar[str]
    compared: ClassVar[bool] = True
    """Whether images are read to tell whether two are the same; else they are if their names are.
    """

    def __init__(self, path: Path, shown: str) -> None:
        self.path, self.shown = path, shown

    @classmethod
    @abstractmethod
    def held(cls, path: Path) -> Iterable[Path]:
        """Files and folders that are read once and kept, wherever they may lie below `path`: where
        one of them changes, all is read again. They are looked at for every image, so they are
        few."""

    @property
    @abstractmethod
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of their numbers."""

    @abstractmethod
    def entries(self, part: Part) -> Sequence[tuple[str, int]]:
        """Name and number of the class of every image of a part, in a fixed order.

        Raises ThreatspecError TS-IMAGE for a layout that is not the published one.
        """

    @abstractmethod
    def image(self, part: Part, name: str) -> NDArray[np.uint8]:
        """An image by its name: (height, width, 1 or 3). Raises ThreatspecError TS-IMAGE."""

    @property
    @abstractmethod
    def digest(self) -> str:
        """What tells this copy from another."""


def first_that_is(path: Path, names: Iterable[str]) -> Path | None:
    """The first of some places below a folder that is there."""
    return next((path / name for name in names if (path / name).exists()), None)


def listed(folder: Path, suffixes: frozenset[str]) -> list[str]:
    """Names of files of these suffixes in a folder, sorted; links out of the set are the user's."""
    return sorted(one.name for one in folder.iterdir() if one.suffix.lower() in suffixes)


def bad_layout(folder: ImageFolder, rule: str, value: str) -> ThreatspecError:
    """TS-IMAGE: a rule that a folder breaks, and how."""
    return ThreatspecError("TS-IMAGE", f"{folder.kind}:{folder.shown} must {rule}, but {value}")


def unknown_image(folder: ImageFolder, name: str, known: Iterable[str]) -> ThreatspecError:
    """TS-IMAGE: a name that no image has."""
    text = f"{folder.kind}:{folder.shown} has no image {name!r}"
    return ThreatspecError("TS-IMAGE", text + did_you_mean(name, list(known)[:100_000]))
