"""Interval arithmetic: what follows for an expression if each operand lies within its bounds."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Interval"]


@dataclass(frozen=True, slots=True)
class Interval:
    """All numbers from `lower` to `upper`.

    Where nothing can be said (division by an interval that contains 0, overflow) the result is the
    whole line, which decides no comparison; NaN never appears.
    """

    lower: float
    upper: float

    def __post_init__(self) -> None:
        if not self.lower <= self.upper:
            raise ValueError(f"lower must not exceed upper, but got {self.lower}, {self.upper}")

    @classmethod
    def point(cls, value: float) -> Interval:
        """The interval that holds one number."""
        return _hull(value)

    def __add__(self, other: Interval) -> Interval:
        return _hull(self.lower + other.lower, self.upper + other.upper)

    def __sub__(self, other: Interval) -> Interval:
        return _hull(self.lower - other.upper, self.upper - other.lower)

    def __mul__(self, other: Interval) -> Interval:
        ends = [a * b for a in (self.lower, self.upper) for b in (other.lower, other.upper)]
        return _hull(*ends)

    def __truediv__(self, other: Interval) -> Interval:
        if other.lower <= 0 <= other.upper:
            return _hull(math.inf)
        ends = [a / b for a in (self.lower, self.upper) for b in (other.lower, other.upper)]
        return _hull(*ends)


def _hull(*ends: float) -> Interval:
    """The least interval around `ends`; one that is not finite makes it the whole line."""
    if not all(math.isfinite(end) for end in ends):
        return Interval(-math.inf, math.inf)
    return Interval(min(ends), max(ends))
