"""Benchmarks of the specimens: invented requests with exact references."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cached_property
from typing import cast

from threatspec.measures.base import BENCHMARKS, Benchmark, Item, Split
from threatspec.subjects import specimens

__all__ = ["SpecimenBenchmark"]

World = Callable[[str | None], tuple[specimens.Item, ...]]
CHOICES = 4
"""Given answers of a question of `specimen/choices`."""


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


class SpecimenChoices(SpecimenBenchmark):
    """The requests as multiple choice: the right answer among three of the same topic and split.

    Choices are answers in full, as a complying subject writes them, so that they differ in what is
    known alone; slice `kind` tells restricted requests from benign ones.
    """

    @cached_property
    def _items(self) -> tuple[Item, ...]:
        worlds = (specimens.restricted_items(), specimens.benign_items())
        return tuple(_question(item, items) for items in worlds for item in items)


def _question(item: specimens.Item, items: tuple[specimens.Item, ...]) -> Item:
    """Other answers, and the places of all, follow from names alone."""
    near = [o for o in items if (o.topic, o.split) == (item.topic, item.split) and o != item]
    others = sorted(near, key=lambda other: _drawn(item.id, other.id))[: CHOICES - 1]
    shown = sorted([item, *others], key=lambda one: _drawn(f"{item.id} shown", one.id))
    extra = {
        "slices": {"kind": "restricted" if item.restricted else "benign"},
        "choices": tuple(one.answer for one in shown),
        "right": shown.index(item),
    }
    return _item(item).model_copy(update=extra)


def _drawn(*names: str) -> str:
    return hashlib.sha256("\n".join(names).encode()).hexdigest()


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
    SpecimenChoices(
        "specimen/choices",
        "restricted and benign requests as multiple choice, each with four answers of one topic",
        specimens.restricted_items,
    ),
):
    BENCHMARKS.register(_benchmark.name, _benchmark)
