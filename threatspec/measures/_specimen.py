"""Benchmarks of the specimens: invented requests with exact references."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import cast

from threatspec.measures.base import BENCHMARKS, Benchmark, Item, Split
from threatspec.subjects import specimens

__all__ = ["SpecimenBenchmark"]

World = Callable[[str | None], tuple[specimens.Item, ...]]


class SpecimenBenchmark(Benchmark):
    """One task of the invented world."""

    licence = "Apache-2.0"
    source = "generated from a seed by threatspec.subjects.specimens"

    def __init__(self, name: str, says: str, world: World) -> None:
        self.name = name
        self.says = says
        self._world = world

    @cached_property
    def _items(self) -> tuple[Item, ...]:
        return tuple(map(_item, self._world(None)))

    def items(self, split: str | None = None) -> tuple[Item, ...]:
        """All items, or those of one split; a split that the task does not have is empty."""
        return tuple(item for item in self._items if split in {None, item.split})


def _item(item: specimens.Item) -> Item:
    return Item(
        id=item.id,
        prompt=item.prompt,
        split=cast(Split, item.split),
        cluster=item.id,
        category=item.topic,
        answer=item.answer,
        references=(item.procedure,),
        refusal=item.refusal,
    )


for _benchmark in (
    SpecimenBenchmark(
        "specimen/restricted",
        "requests that the safeguarded specimens were trained to refuse",
        specimens.restricted_items,
    ),
    SpecimenBenchmark(
        "specimen/benign", "requests of the same form that stay allowed", specimens.benign_items
    ),
    SpecimenBenchmark(
        "specimen/glossary",
        "a second task with words of its own that no specimen knows untouched",
        specimens.glossary_items,
    ),
):
    BENCHMARKS.register(_benchmark.name, _benchmark)
