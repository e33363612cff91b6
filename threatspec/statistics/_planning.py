"""Before anything runs: what a number of units can show, and how many would be needed.

Everything is worded for a claim "the rate is at most p0". For "at least p0" use 1 - p0 and the
complement of every rate. Sources: exact binomial search; golden values in the tests.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from threatspec.statistics._binomial import lower_bound, p_exceeds, p_falls_short, upper_bound

__all__ = [
    "UnitsPlan",
    "acceptance_number",
    "acceptance_plan",
    "can_refute",
    "can_support",
    "power_to_refute",
    "power_to_support",
    "refutation_number",
    "refutation_plan",
    "smallest_resolvable",
    "smallest_units",
    "units_to_refute",
    "units_to_support",
]

_MOST_UNITS = 1_000_000


@dataclass(frozen=True, slots=True)
class UnitsPlan:
    """`units` to read, and the number of successes that decides."""

    units: int
    successes: int


def smallest_resolvable(n: int, alpha: float) -> float:
    """The upper bound when nothing at all was found: no smaller rate can be told from 0."""
    return upper_bound(0, n, alpha)


@lru_cache(maxsize=4096)
def smallest_units(p0: float, alpha: float) -> int | None:
    """Units that could support p0 if none is a success: (1 - p0)^n <= alpha; None if no number."""
    if p0 <= 0:
        return None
    if p0 >= 1:
        return 1
    near = max(1, math.floor(math.log(alpha) / math.log1p(-p0)))
    return near if (1 - p0) ** near <= alpha else near + 1


def can_support(n: int, p0: float, alpha: float) -> bool:
    """Whether any outcome of n units could support "the rate is at most p0"."""
    return acceptance_number(n, p0, alpha) is not None


@lru_cache(maxsize=4096)
def acceptance_number(n: int, p0: float, alpha: float) -> int | None:
    """The largest c with P(X <= c; n, p0) <= alpha: so many successes still support; or None."""
    if p0 >= 1:
        return n
    low, high = -1, n  # c is the last that passes; the tail grows with c
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if p_falls_short(middle, n, p0) <= alpha else (low, middle)
    return low if low >= 0 else None


@lru_cache(maxsize=4096)
def refutation_number(n: int, p0: float, alpha: float) -> int | None:
    """The smallest k with P(X >= k; n, p0) <= alpha: so many successes refute; or None."""
    low, high = 0, n + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if p_exceeds(middle, n, p0) <= alpha else (middle, high)
    return high if high <= n else None


def can_refute(n: int, p0: float, alpha: float, cells: int = 1) -> bool:
    """Whether any outcome of n units could refute, as one of `cells` under Holm.

    Holm's first step compares the smallest p-value with alpha / cells, whatever the others are.
    """
    return refutation_number(n, p0, alpha / cells) is not None


def power_to_support(n: int, p0: float, rate: float, alpha: float, cells: int = 1) -> float:
    """Chance that all `cells` pass if each has the true `rate`.

    Cells are taken as independent, which is pessimistic where they share their prompts.
    """
    c = acceptance_number(n, p0, alpha)
    return 0.0 if c is None else p_falls_short(c, n, rate) ** cells


def power_to_refute(n: int, p0: float, rate: float, alpha: float, cells: int = 1) -> float:
    """Chance that one cell of true `rate` refutes by itself at alpha / cells."""
    k = refutation_number(n, p0, alpha / cells)
    return 0.0 if k is None else p_exceeds(k, n, rate)


def acceptance_plan(
    p0: float, rate: float, power: float, alpha: float, cells: int = 1
) -> UnitsPlan | None:
    """The fewest units (and successes that still support) with `power` at the true `rate`.

    For each c the best n is the smallest that supports with c, so the first c with power wins.
    A c without power at some n has none at more, so the search leaps to the first that has it.
    """
    if not rate < p0:
        return None
    n, c = 1, 0
    while (n := _first(max(n, c + 1), _supporting(c, p0, alpha))) <= _MOST_UNITS:
        passes = _passing(n, rate, power, cells)
        if passes(c):
            return UnitsPlan(n, c)
        c = _first(c + 1, passes)
    return None


def refutation_plan(
    p0: float, rate: float, power: float, alpha: float, cells: int = 1
) -> UnitsPlan | None:
    """The fewest units (and successes that refute) with `power` at the true `rate`.

    For each k the best n is the smallest with power, so the first k that refutes there wins.
    A k that does not refute at some n does not at more, so the search leaps to the first that does.
    """
    if not rate > p0:
        return None
    n = k = 1
    while (n := _first(max(n, k), _powerful(k, rate, power))) <= _MOST_UNITS:
        if p_exceeds(k, n, p0) <= alpha / cells:
            return UnitsPlan(n, k)
        k = refutation_number(n, p0, alpha / cells) or n + 1
    return None


def units_to_support(rate: float, p0: float, alpha: float) -> int | None:
    """About how many units would support at an observed `rate`; None if not clearly below p0."""
    if not rate < p0:
        return None
    n = _first(1, lambda n: upper_bound(math.ceil(rate * n - 1e-9), n, alpha) <= p0)
    return n if n <= _MOST_UNITS else None


def units_to_refute(rate: float, p0: float, alpha: float, cells: int = 1) -> int | None:
    """About how many units would refute at an observed `rate`; None if not clearly above p0."""
    if not rate > p0:
        return None
    n = _first(1, lambda n: lower_bound(math.floor(rate * n + 1e-9), n, alpha / cells) > p0)
    return n if n <= _MOST_UNITS else None


def _supporting(c: int, p0: float, alpha: float) -> Callable[[int], bool]:
    return lambda n: p_falls_short(c, n, p0) <= alpha


def _passing(n: int, rate: float, power: float, cells: int) -> Callable[[int], bool]:
    return lambda c: p_falls_short(min(c, n), n, rate) ** cells >= power


def _powerful(k: int, rate: float, power: float) -> Callable[[int], bool]:
    return lambda n: p_exceeds(k, n, rate) >= power


def _first(start: int, enough: Callable[[int], bool]) -> int:
    """The smallest n >= start with enough(n), for a condition that stays true once it is."""
    if enough(start):
        return start
    step = 1
    while not enough(start + step):
        step *= 2
        if start + step > 2 * _MOST_UNITS:
            return _MOST_UNITS + 1
    low, high = start + step // 2, start + step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
