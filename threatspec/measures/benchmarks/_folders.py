"""Benchmarks of images in a folder of the user's: `cifar10:PATH`, `gtsrb:PATH`, `imagenet:PATH`.

`KIND/not-CLASS:PATH` leaves the images of one class out, which an attack may aim at.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property, lru_cache
from pathlib import Path

from threatspec.errors import ThreatspecError, did_you_mean
from threatspec.measures.base import Benchmark, Item, Split
from threatspec.measures.benchmarks._splits import drawn_split
from threatspec.schema import content_id
from threatspec.subjects.images.folders import FOLDERS, ImageFolder, Part, image_folder

__all__ = ["FolderBenchmark", "folder_benchmark"]

_SHARES: dict[Split, float] = {"attack_train": 0.70, "safeguard_train": 0.15, "attack_dev": 0.15}
"""Of the part that the set's authors train on: as of the sets that travel in packages."""
_QUESTION = "which class is shown ?"
_NOT = "/not-"


class FolderBenchmark(Benchmark):
    """All images of a folder, or those of every class but one; the authors' test part is `test`."""

    def __init__(self, folder: ImageFolder, but: str = "") -> None:
        self._folder, self._but = folder, but
        self.name = f"{folder.kind}{_NOT + but if but else ''}:{folder.shown}"
        more = f", those of class {but} left out, which an attack may aim at" if but else ""
        self.says = f"{folder.says}{more}"
        self.licence, self.source = folder.licence, folder.source

    def items(self, split: str | None = None) -> tuple[Item, ...]:
        """All items, or those of one split.

        Raises ThreatspecError TS-IMAGE for a layout that is not the published one.
        """
        if split is None:
            return self._of["train"] + self._of["test"]
        kept = self._of["test" if split == "test" else "train"]
        return kept if split == "test" else tuple(item for item in kept if item.split == split)

    @cached_property
    def _of(self) -> _Parts:
        return _Parts(self)

    def made(self, part: Part) -> Iterator[Item]:
        """Items of a part; of many images the names of classes are kept once."""
        kind, classes = self._folder.kind, self._folder.classes
        for name, number in self._folder.entries(part):
            label = classes[number]
            if label != self._but:
                own = f"{kind}/{part}/{name}"
                yield Item.model_construct(
                    id=own,
                    prompt=_QUESTION,
                    image=f"{kind}:{self._folder.shown}#{part}/{name}",
                    split="test" if part == "test" else drawn_split(own, _SHARES),
                    cluster=own,
                    category=label,
                    answer=label,
                    references=(label,),
                    choices=classes,
                    right=number,
                )

    @cached_property
    def digest(self) -> str:
        """Derived from the images, classes and splits, not from where the folder lies."""
        known = [self._folder.kind, self._folder.digest, self._folder.classes, self._but]
        return content_id("benchmark", known)


class _Parts(dict[Part, tuple[Item, ...]]):
    """Items by part, made when they are asked for."""

    def __init__(self, of: FolderBenchmark) -> None:
        super().__init__()
        self._made = of.made

    def __missing__(self, part: Part) -> tuple[Item, ...]:
        self[part] = tuple(self._made(part))
        return self[part]


def folder_benchmark(name: str, folder: Path) -> FolderBenchmark | None:
    """What `KIND:PATH` or `KIND/not-CLASS:PATH` stands for, relative to `folder`; None if a name is
    no such one.

    Raises ThreatspecError TS-FILE-MISSING without the folder, TS-IMAGE for a layout that is not the
    published one, TS-DATA for a class that it does not have.
    """
    kind, colon, path = name.partition(":")
    base, _, but = kind.partition(_NOT)
    if base not in FOLDERS:
        return None
    if not colon or not path:
        text = f"{base} must be told with the folder of your copy ({kind}:PATH), but got {name!r}"
        raise ThreatspecError("TS-DATA", text)
    found = image_folder(f"{base}:{path}", folder)
    if but and but not in found.classes:
        text = f"{name} must leave out a class of {base}, but there is no class {but!r}"
        raise ThreatspecError("TS-DATA", text + did_you_mean(but, list(found.classes)))
    found.entries("test")  # a layout that is wrong is told here
    return _known(found, but)


@lru_cache(maxsize=16)
def _known(folder: ImageFolder, but: str) -> FolderBenchmark:
    """Items are made once: every trial asks for them."""
    return FolderBenchmark(folder, but)
