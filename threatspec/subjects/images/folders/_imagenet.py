"""ImageNet (ILSVRC 2012): a folder of JPEG files for each class, named by its WordNet id.

Source: the page of the set, https://image-net.org/challenges/LSVRC/2012, and that of its copy for
the contest of Kaggle, whose tables are LOC_synset_mapping.txt and LOC_val_solution.csv.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from threatspec.subjects.images._files import open_image
from threatspec.subjects.images._names import unique_names
from threatspec.subjects.images.folders._base import (
    ImageFolder,
    Part,
    bad_layout,
    first_that_is,
    listed,
    unknown_image,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Imagenet"]

_ID = re.compile(r"n\d{8}")
_JPEG = frozenset({".jpeg", ".jpg"})
_PLACES: dict[Part, tuple[str, ...]] = {
    "train": ("train", "ILSVRC/Data/CLS-LOC/train", "Data/CLS-LOC/train"),
    "test": ("val", "ILSVRC/Data/CLS-LOC/val", "Data/CLS-LOC/val"),
}
_NAMES, _SOLUTION = "LOC_synset_mapping.txt", "LOC_val_solution.csv"


class Imagenet(ImageFolder):
    """Photographs of many sizes; what its authors call validation is the test part here."""

    kind: ClassVar[str] = "imagenet"
    says: ClassVar[str] = "photographs of things in 1,000 classes (ImageNet, ILSVRC 2012)"
    licence: ClassVar[str] = "ImageNet terms of access: non-commercial research"
    source: ClassVar[str] = "https://image-net.org"
    compared: ClassVar[bool] = False

    @classmethod
    def held(cls, path: Path) -> Iterator[Path]:
        """Tables and the folders of parts; not those of classes, a thousand of them."""
        yield from (path / _NAMES, path / _SOLUTION)
        yield from (path / name for names in _PLACES.values() for name in names)

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
    def _ids(self) -> tuple[str, ...]:
        folders = (one for one in self._folders["train"].iterdir() if one.is_dir())
        found = sorted(one.name for one in folders if _ID.fullmatch(one.name))
        if not found:
            text = "train has none (they are called like n01440764)"
            raise bad_layout(self, "hold a folder for each class", text)
        return tuple(found)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Words of LOC_synset_mapping.txt, as published models have them, or WordNet ids; words
        that two classes share are told apart as those of models are."""
        words: dict[str, str] = {}
        path = self.path / _NAMES
        for line in path.read_text("utf-8").splitlines() if path.is_file() else ():
            name, _, text = line.strip().partition(" ")
            words[name] = text
        return unique_names(words.get(name) or name for name in self._ids)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self._ids)}

    def entries(self, part: Part) -> Sequence[tuple[str, int]]:
        """Class by class; images of a class by name."""
        return self._test if part == "test" else self._train

    @cached_property
    def _train(self) -> list[tuple[str, int]]:
        return list(self._by_class(self._folders["train"]))

    @cached_property
    def _test(self) -> list[tuple[str, int]]:
        folder = self._folders["test"]
        found = list(self._by_class(folder))
        return found or list(self._solved(listed(folder, _JPEG)))

    def _by_class(self, folder: Path) -> Iterator[tuple[str, int]]:
        for name, number in self._numbers.items():
            if (folder / name).is_dir():
                yield from ((f"{name}/{one}", number) for one in listed(folder / name, _JPEG))

    def _solved(self, names: list[str]) -> Iterator[tuple[str, int]]:
        """Images that lie in one folder, with classes by the table of the contest."""
        table = self.path / _SOLUTION
        if not table.is_file():
            text = f"val has none, and there is no {_SOLUTION} that would tell"
            raise bad_layout(self, "have a folder in val for each class", text)
        with table.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            told = {r["ImageId"]: (r["PredictionString"] or "").partition(" ")[0] for r in rows}
        for name in names:
            known = told.get(Path(name).stem, "")
            if known not in self._numbers:
                text = f"{_SOLUTION} says {known!r} of {name}"
                raise bad_layout(self, "know the class of every image", text)
            yield name, self._numbers[known]

    def image(self, part: Part, name: str) -> NDArray[np.uint8]:
        """The whole photograph."""
        first, _, last = name.rpartition("/")
        known = (first in self._numbers or not first) and last == Path(last).name
        if not known or last in {"", ".", ".."}:
            raise unknown_image(self, f"{part}/{name}", ())
        return open_image(self._folders[part] / name, f"{self.kind}:{self.shown}#{part}/{name}")

    @cached_property
    def digest(self) -> str:
        """sha256 of the names and sizes of all files: their content is too much to be read."""
        found = hashlib.sha256()
        for part in ("train", "test"):
            for name, label in self.entries(part):
                size = (self._folders[part] / name).stat().st_size
                found.update(f"{part}/{name} {label} {size}\n".encode())
        return found.hexdigest()
