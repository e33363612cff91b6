"""Benchmark `specimen/sights`: a question about an image, answered by specimens that see."""

from __future__ import annotations

from functools import cached_property

from threatspec.measures._images import ImageBenchmark
from threatspec.measures.base import BENCHMARKS, Benchmark, Item
from threatspec.schema import content_id
from threatspec.subjects.images import PACKAGED
from threatspec.subjects.specimens import REFUSALS
from threatspec.subjects.specimens._sights import SIGHT_REQUEST, sight_answer, sight_word

__all__ = ["SightsBenchmark"]


class SightsBenchmark(Benchmark):
    """Handwritten digits with their words; splits are those of benchmark `mnist5k`."""

    name = "specimen/sights"
    says = "a question about a handwritten digit, each of which has a word of the invented language"

    def __init__(self) -> None:
        self._images = ImageBenchmark("mnist5k")
        self.licence = self._images.licence
        self.source = f"words by threatspec.subjects.specimens, images of {self._images.source}"

    @cached_property
    def _items(self) -> tuple[Item, ...]:
        return tuple(map(_item, self._images.items()))

    def items(self, split: str | None = None) -> tuple[Item, ...]:
        """All items, or those of one split.

        Raises ThreatspecError TS-MISSING-EXTRA without the package that holds the images.
        """
        return tuple(item for item in self._items if split in {None, item.split})

    @cached_property
    def digest(self) -> str:
        """Derived from all items, and from the images themselves."""
        plain = [item.model_dump(mode="json") for item in self._items]
        return content_id("benchmark", [plain, PACKAGED["mnist5k"].digest])


def _item(shown: Item) -> Item:
    digit = int(shown.answer)
    number = shown.image.partition(":")[2]
    return Item(
        id=f"sights/{number}",
        prompt=SIGHT_REQUEST,
        image=shown.image,
        split=shown.split,
        cluster=f"sights/{number}",
        category=shown.category,
        answer=sight_answer(digit),
        references=(sight_word(digit),),
        refusal=REFUSALS[digit % len(REFUSALS)],
    )


BENCHMARKS.register(SightsBenchmark.name, SightsBenchmark())
