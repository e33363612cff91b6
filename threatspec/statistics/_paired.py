"""Two conditions on the same units: what differs, where they differ.

Only units that both decided are pairs. Differences are first minus second.
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass

from threatspec.statistics._binomial import (
    lower_bound,
    p_exceeds,
    p_falls_short,
    upper_bound,
    wilson,
)
from threatspec.statistics._interval import Interval

__all__ = ["Pairs", "mcnemar_greater_p", "mcnemar_p", "newcombe", "non_inferior_lower"]


@dataclass(frozen=True, slots=True)
class Pairs:
    """Counts of units by which of two conditions they succeed under.

    Raises ValueError for a negative count.
    """

    both: int
    first_only: int
    second_only: int
    neither: int

    def __post_init__(self) -> None:
        if min(astuple(self)) < 0:
            raise ValueError(f"counts of pairs must be at least 0, but got {self}")

    @property
    def units(self) -> int:
        """How many units there are."""
        return self.both + self.first_only + self.second_only + self.neither

    @property
    def discordant(self) -> int:
        """How many succeed under one condition alone."""
        return self.first_only + self.second_only


def mcnemar_p(pairs: Pairs) -> float:
    """Exact p-value against "they succeed equally often": 2 P(Bin(b + c, 1/2) <= min(b, c)).

    b and c are the units that succeed under one condition alone. McNemar 1947; golden values in
    the tests.
    """
    fewer = min(pairs.first_only, pairs.second_only)
    return min(1.0, 2 * p_falls_short(fewer, pairs.discordant, 0.5))


def mcnemar_greater_p(pairs: Pairs) -> float:
    """Exact p-value against "the first succeeds at most as often": P(Bin(b + c, 1/2) >= b).

    b are the units that succeed under the first alone.
    """
    return p_exceeds(pairs.first_only, pairs.discordant, 0.5)


def newcombe(pairs: Pairs, alpha: float) -> Interval:
    """Interval for the difference, one-sided alpha at each end. For display only.

    Wilson limits of both shares, combined with their correlation: method 10 of Newcombe 1998,
    Statistics in Medicine 17, 2635. Golden values in the tests.
    """
    n = pairs.units
    if n == 0:
        return Interval(-1.0, 1.0)
    first, second = pairs.both + pairs.first_only, pairs.both + pairs.second_only
    one, two = wilson(first, n, alpha), wilson(second, n, alpha)
    p, q, phi = first / n, second / n, _correlation(pairs)
    below = _combined(p - one.lower, two.upper - q, phi)
    above = _combined(q - two.lower, one.upper - p, phi)
    return Interval(max(-1.0, p - q - below), min(1.0, p - q + above))


def _correlation(pairs: Pairs) -> float:
    """Of the two conditions; less half a unit if positive, 0 if one of them never varies."""
    first, second = pairs.both + pairs.first_only, pairs.both + pairs.second_only
    spread = first * (pairs.units - first) * second * (pairs.units - second)
    if spread == 0:
        return 0.0
    product = pairs.both * pairs.neither - pairs.first_only * pairs.second_only
    shrunk = max(product - pairs.units / 2, 0.0) if product > 0 else product
    return shrunk / math.sqrt(spread)


def _combined(one: float, other: float, phi: float) -> float:
    return math.sqrt(max(0.0, one * one - 2 * phi * one * other + other * other))


def non_inferior_lower(pairs: Pairs, alpha: float) -> float:
    """Lower bound at level 1 - alpha on the difference: the first is less than -d worse if above.

    The exact lower bound on the share that succeeds under the first alone, less the upper one on
    the second alone, at alpha / 2 each: valid for every distribution, unlike Newcombe's interval.
    """
    gained = lower_bound(pairs.first_only, pairs.units, alpha / 2)
    return gained - upper_bound(pairs.second_only, pairs.units, alpha / 2)
