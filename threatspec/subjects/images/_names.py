"""Names of classes, which tell them apart, and numbers that stand in names of images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

__all__ = ["number_below", "unique_names"]


def unique_names(names: Iterable[str]) -> tuple[str, ...]:
    """The names of classes in their order; one that several have is followed by its place.

    ImageNet has two cranes: a bird and a machine, `crane (134)` and `crane (517)`. Models and
    folders are named by this alone, so that labels and answers agree.
    """
    found = tuple(names)
    counts = Counter(found)
    if len(counts) == len(found):
        return found
    # What is made may be the name of another class, which is then followed by its place too.
    return unique_names(f"{n} ({at})" if counts[n] > 1 else n for at, n in enumerate(found))


def number_below(text: str, count: int) -> int | None:
    """The number that a text is, if it is one from 0 to `count` - 1. Python turns no text of
    thousands of digits into a number, so its length is looked at first."""
    digits = text.lstrip("0") or text[-1:]
    if len(digits) > len(str(count)) or not digits.isdecimal():
        return None
    number = int(digits)
    return number if number < count else None
