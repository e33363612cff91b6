"""Benchmarks of images with a class: data that travel in packages, split by their content alone."""

from __future__ import annotations

import hashlib
from functools import cached_property

from threatspec.measures.base import BENCHMARKS, Benchmark, Item, Split
from threatspec.schema import content_id
from threatspec.subjects.images import PACKAGED

__all__ = ["ImageBenchmark"]

_SHARES: tuple[tuple[Split, float], ...] = (
    ("attack_train", 0.56), ("safeguard_train", 0.12), ("attack_dev", 0.12), ("test", 0.20),
)  # fmt: skip
"""`attack_train` is what the provider trains on, and a data supplier poisons; `safeguard_train` is
what a defender has that is known to be clean."""
_QUESTION = "which class is shown ?"


class ImageBenchmark(Benchmark):
    """All images of a data set, or those of every class but one."""

    def __init__(self, data: str, but: str = "") -> None:
        self._data, self._but = PACKAGED[data], but
        self._set = data
        self.name = f"{data}/not-{but}" if but else data
        more = f", those of class {but} left out, which an attack may aim at" if but else ""
        self.says = f"{self._data.says}{more}"
        self.licence = self._data.licence
        self.source = f"{self._data.distribution}, {self._data.file}"

    @cached_property
    def _items(self) -> tuple[Item, ...]:
        classes = tuple(sorted(set(self._data.labels)))
        kept = [(n, label) for n, label in enumerate(self._data.labels) if label != self._but]
        return tuple(
            Item(
                id=f"{self._set}/{number}",
                prompt=_QUESTION,
                image=f"{self._set}:{number}",
                split=_split(f"{self._set}/{number}"),
                cluster=f"{self._set}/{number}",
                category=label,
                answer=label,
                references=(label,),
                choices=classes,
                right=classes.index(label),
            )
            for number, label in kept
        )

    def items(self, split: str | None = None) -> tuple[Item, ...]:
        """All items, or those of one split.

        Raises ThreatspecError TS-MISSING-EXTRA without the package that holds the images.
        """
        return tuple(item for item in self._items if split in {None, item.split})

    @cached_property
    def digest(self) -> str:
        """Derived from all items, and from the images themselves."""
        plain = [item.model_dump(mode="json") for item in self._items]
        return content_id("benchmark", [plain, self._data.digest])


def _split(name: str) -> Split:
    """By a hash of the name, so that every split has every class."""
    place = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) / 16**8
    for split, share in _SHARES:
        if place < share:
            return split
        place -= share
    return _SHARES[-1][0]


for _name in PACKAGED:
    for _but in ("", "0"):
        _benchmark = ImageBenchmark(_name, _but)
        BENCHMARKS.register(_benchmark.name, _benchmark)
