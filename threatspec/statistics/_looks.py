"""When a growing cell is looked at, what stops it there, and what that is worth: fixed in the plan.

Everything is worded for a claim "the rate is at most p0", as in planning.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from threatspec.statistics._eprocess import log_e_refute, log_e_support
from threatspec.statistics._planning import acceptance_number, refutation_number

__all__ = ["Boundary", "SequentialPower", "boundaries", "looks", "sequential_power"]

_FEW = 64
_FIRST = (8, 12)
_DOUBLING = (16, 20, 24, 28)


@dataclass(frozen=True, slots=True)
class Boundary:
    """What decides at one look; None where no outcome does.

    So many successes, or fewer, support; so many, or more, refute.
    """

    look: int
    supports_at_most: int | None
    refutes_at_least: int | None


@dataclass(frozen=True, slots=True)
class SequentialPower:
    """The chances of each end, and the units read until then on average."""

    supports: float
    refutes: float
    undecided: float
    expected_units: float


def looks(units: int) -> tuple[int, ...]:
    """The numbers of units at which a cell of `units` is looked at; the last is all of them.

    8, 12, then 16, 20, 24, 28 and these doubled again and again. None comes so late that less than
    a quarter of it is left. Below 64 units there is one look: the bounds of a fixed number decide
    with fewer. `benchmarks/sequential.py` shows what the schedule costs. Raises ValueError if there
    is no unit.
    """
    if units < 1:
        raise ValueError(f"looks need at least one unit, but got {units}")
    if units < _FEW:
        return (units,)
    doublings = range(units.bit_length())
    schedule = (*_FIRST, *(first << times for times in doublings for first in _DOUBLING))
    return (*(look for look in schedule if 5 * look <= 4 * units), units)


@lru_cache(maxsize=4096)
def boundaries(
    looks: tuple[int, ...], p0: float, alpha: float, cells: int = 1
) -> tuple[Boundary, ...]:
    """What decides at each look: e-values of 1/alpha to support, of cells/alpha to refute.

    Stopping at any of them then errs with chance at most alpha on either side. A single look is a
    fixed number of units, where the exact binomial test decides with fewer successes.
    """
    _check(looks, cells)
    if len(looks) == 1:
        (n,) = looks
        fixed = acceptance_number(n, p0, alpha), refutation_number(n, p0, alpha / cells)
        return (Boundary(n, *fixed),)
    return tuple(_boundary(n, p0, -math.log(alpha), cells) for n in looks)


def _boundary(n: int, p0: float, threshold: float, cells: int) -> Boundary:
    outcomes = range(n + 1)
    open_from = bisect_left(outcomes, True, key=lambda k: log_e_support(k, n - k, p0) < threshold)
    refuted_from = bisect_left(
        outcomes, True, key=lambda k: log_e_refute(k, n - k, p0) >= threshold + math.log(cells)
    )
    return Boundary(
        n,
        supports_at_most=open_from - 1 if open_from > 0 else None,
        refutes_at_least=refuted_from if refuted_from <= n else None,
    )


@lru_cache(maxsize=4096)
def sequential_power(
    looks: tuple[int, ...], p0: float, rate: float, alpha: float, cells: int = 1
) -> SequentialPower:
    """How a cell of true `rate` ends under `boundaries`, by itself and exactly.

    A dynamic programme over the successes of cells that are still open, from look to look.
    """
    open_cells, seen = [1.0], 0
    supports = refutes = expected = 0.0
    for boundary in boundaries(looks, p0, alpha, cells):
        step = boundary.look - seen
        expected += step * math.fsum(open_cells)
        reached = _convolved(open_cells, _binomial(step, rate))
        low, high = _open_range(boundary)
        supports, refutes = supports + math.fsum(reached[:low]), refutes + math.fsum(reached[high:])
        open_cells = [p if low <= k < high else 0.0 for k, p in enumerate(reached)]
        seen = boundary.look
    return SequentialPower(supports, refutes, math.fsum(open_cells), expected)


def _open_range(boundary: Boundary) -> tuple[int, int]:
    """The numbers of successes that decide nothing, as in `range`; refuting goes first."""
    refuted, supported = boundary.refutes_at_least, boundary.supports_at_most
    high = boundary.look + 1 if refuted is None else refuted
    return (0 if supported is None else min(supported + 1, high)), high


def _binomial(n: int, rate: float) -> list[float]:
    """P(X = k) for X ~ Bin(n, rate) and every k."""
    if rate <= 0 or rate >= 1:
        return [float(k == (n if rate >= 1 else 0)) for k in range(n + 1)]
    yes, no, all_orders = math.log(rate), math.log1p(-rate), math.lgamma(n + 1)
    return [
        math.exp(all_orders - math.lgamma(k + 1) - math.lgamma(n - k + 1) + k * yes + (n - k) * no)
        for k in range(n + 1)
    ]


def _convolved(first: list[float], second: list[float]) -> list[float]:
    """Chances of the sums of two independent counts."""
    sums = [0.0] * (len(first) + len(second) - 1)
    for i, p in enumerate(first):
        if p:
            for j, q in enumerate(second, start=i):
                sums[j] += p * q
    return sums


def _check(looks: tuple[int, ...], cells: int) -> None:
    if not looks or looks[0] < 1 or any(b <= a for a, b in pairwise(looks)):
        raise ValueError(f"looks must be whole numbers from 1 up, each above the last: {looks}")
    if cells < 1:
        raise ValueError(f"cells must be at least 1, but got {cells}")
