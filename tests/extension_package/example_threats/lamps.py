"""Benchmark `example/lamps`: which lamp stands where, in invented words."""

from __future__ import annotations

from threatspec.measures import Benchmark, Item

_COLOURS = ("amber", "blue", "green", "red", "white")
_PLACES = {
    "attack_train": ("mulven", "torvik", "asheld", "brunmar"),
    "attack_dev": ("seldra", "hoskel"),
    "test": (
        "bralkos", "yendar", "wosket", "pelmur", "dranvel", "kirmos", "tulgar", "fendrik",
        "olsken", "varpel", "mishtor", "guldan", "rethmar", "zolvin", "corbesk", "nimrad",
    ),
}  # fmt: skip


class Lamps(Benchmark):
    """Fixed content: the digest is derived from all items."""

    name = "example/lamps"
    says = "asks which lamp stands in an invented place"
    licence = "Apache-2.0"
    source = "written for this example"

    def items(self, split: str | None = None) -> tuple[Item, ...]:
        """All items, or those of one split, in a fixed order."""
        return tuple(
            _item(place, _COLOURS[number % len(_COLOURS)], name)
            for name, places in _PLACES.items()
            if split in {None, name}
            for number, place in enumerate(places)
        )


def _item(place: str, colour: str, split: str) -> Item:
    return Item(
        id=f"lamps/{place}",
        prompt=f"which lamp stands in {place} ?",
        split=split,
        cluster=place,
        answer=f"in {place} stands the {colour} lamp",
        references=(f"the {colour} lamp",),
    )
