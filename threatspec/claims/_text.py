"""Plain words for numbers and lists; bounds are rounded away from the estimate."""

from __future__ import annotations

import math
from collections.abc import Iterable

__all__ = ["down", "listed", "plural", "up"]

_DIGITS = 1000


def plural(number: int, noun: str) -> str:
    """`1 cell`, `2 cells`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def listed(parts: Iterable[str], most: int = 6) -> str:
    """`a, b and c`; beyond `most` only how many more."""
    names = list(parts)
    if len(names) > most:
        names = [*names[:most], f"{len(names) - most} more"]
    *head, last = names or ["nothing"]
    return f"{', '.join(head)} and {last}" if head else last


def down(value: float) -> str:
    """A lower bound with three decimals."""
    return f"{math.floor(value * _DIGITS + 1e-9) / _DIGITS:.3f}"


def up(value: float) -> str:
    """An upper bound with three decimals."""
    return f"{math.ceil(value * _DIGITS - 1e-9) / _DIGITS:.3f}"
