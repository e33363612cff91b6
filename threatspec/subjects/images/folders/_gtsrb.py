"""GTSRB, German traffic signs: a folder of PPM files for each class with a table beside them.

Images are shown whole: the margin around the sign, which the tables tell, is not cut off.

Source: the page of the set, https://benchmark.ini.rub.de/gtsrb_dataset.html, "Image format" and
"Annotation format".
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from threatspec.subjects.images._files import FORMATS, open_image
from threatspec.subjects.images._names import number_below
from threatspec.subjects.images.folders._base import (
    ImageFolder,
    Part,
    bad_layout,
    first_that_is,
    unknown_image,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Gtsrb"]

_CLASSES = 43
_PLACES: dict[Part, tuple[str, ...]] = {
    "train": ("GTSRB/Final_Training/Images", "Final_Training/Images", "GTSRB/Training", "Training"),
    "test": ("GTSRB/Final_Test/Images", "Final_Test/Images"),
}
_TABLE = "GT-final_test.csv"
"""The table with the classes of the test images; that of the contest has none of them."""


class Gtsrb(ImageFolder):
    """Traffic signs of 43 classes, 15 to 250 pixels wide."""

    kind: ClassVar[str] = "gtsrb"
    says: ClassVar[str] = "51,839 photographs of German traffic signs in 43 classes (GTSRB)"
    licence: ClassVar[str] = "none stated by its authors"
    source: ClassVar[str] = "https://benchmark.ini.rub.de"

    @classmethod
    def held(cls, path: Path) -> Iterator[Path]:
        """Tables."""
        for part in _PLACES.values():
            if folder := first_that_is(path, part):
                yield from (folder, folder / _TABLE, folder.parent / _TABLE)
        if folder := first_that_is(path, _PLACES["train"]):
            yield from (Path(f"{folder}/{n:05}/GT-{n:05}.csv") for n in range(_CLASSES))
        yield from (path / _TABLE, path / "GTSRB" / _TABLE)

    @property
    def classes(self) -> tuple[str, ...]:
        """Numbers: the set gives its classes no names."""
        return tuple(str(number) for number in range(_CLASSES))

    @cached_property
    def _folders(self) -> dict[Part, Path]:
        found: dict[Part, Path] = {}
        for part, names in _PLACES.items():
            folder = first_that_is(self.path, names)
            if folder is None:
                raise bad_layout(self, f"hold a folder {names[0]}", "there is none")
            found[part] = folder
        return found

    @cached_property
    def _entries(self) -> dict[Part, dict[str, int]]:
        return {"train": dict(self._training()), "test": dict(self._test())}

    def _training(self) -> Iterator[tuple[str, int]]:
        for number in range(_CLASSES):
            folder = self._folders["train"] / f"{number:05}"
            if folder.is_dir():
                table = folder / f"GT-{number:05}.csv"
                yield from ((f"{folder.name}/{name}", label) for name, label in self._rows(table))

    def _test(self) -> Iterator[tuple[str, int]]:
        folder = self._folders["test"]
        places = (folder, folder.parent, self.path, self.path / "GTSRB")
        table = next((p / _TABLE for p in places if (p / _TABLE).is_file()), folder / _TABLE)
        return self._rows(table)

    def _rows(self, table: Path) -> Iterator[tuple[str, int]]:
        """Names and classes of a table."""
        if not table.is_file():
            raise bad_layout(self, f"hold {table.name}, a table with classes", "it is not there")
        with table.open(encoding="utf-8-sig", newline="") as file:
            for row in csv.DictReader(file, delimiter=";"):
                name, label = row.get("Filename") or "", row.get("ClassId") or ""
                number = number_below(label, _CLASSES)
                if number is None or not name or name != Path(name).name:
                    text = f"{table.name} says class {label!r} of {name!r}"
                    raise bad_layout(self, f"name images and classes below {_CLASSES}", text)
                yield name, number

    def entries(self, part: Part) -> Sequence[tuple[str, int]]:
        """In the order of the tables."""
        found = self._entries[part]
        if not found:
            raise bad_layout(self, f"have images for its part {part}", "there are none")
        return list(found.items())

    def image(self, part: Part, name: str) -> NDArray[np.uint8]:
        """The whole photograph."""
        if name not in self._entries[part]:
            raise unknown_image(
                self, f"{part}/{name}", (f"{part}/{n}" for n in self._entries[part])
            )
        ref = f"{self.kind}:{self.shown}#{part}/{name}"
        return open_image(self._folders[part] / name, ref, (*FORMATS, "PPM"))

    @cached_property
    def digest(self) -> str:
        """sha256 of tables and files."""
        found = hashlib.sha256()
        for part, entries in self._entries.items():
            for name, label in entries.items():
                found.update(f"{part}/{name} {label}\n".encode())
                path = self._folders[part] / name
                found.update(path.read_bytes() if path.is_file() else b"")
        return found.hexdigest()
