"""A share of a finite population of which some units were drawn without replacement, exactly."""

from __future__ import annotations

import math
from functools import lru_cache

from threatspec.statistics._binomial import check_counts

__all__ = ["finite_lower", "finite_upper"]

_ROUNDING = 1e-7
"""How much the log-factorials may be off: a count within it of alpha is not excluded."""
_CACHE = 1 << 16


@lru_cache(maxsize=_CACHE)
def finite_upper(k: int, n: int, population: int, alpha: float) -> float:
    """One-sided upper bound at level 1 - alpha on the share, for k of n drawn from `population`.

    The largest K with P(X <= k) > alpha, X hypergeometric, divided by N: the share itself once all
    were drawn. Raises ValueError if fewer units exist than were drawn. Golden values in the tests.
    """
    return _most(k, n, population, alpha) / population


@lru_cache(maxsize=_CACHE)
def finite_lower(k: int, n: int, population: int, alpha: float) -> float:
    """One-sided lower bound at level 1 - alpha on the share: the mirrored upper one.

    The smallest K with P(X >= k) > alpha, divided by N.
    """
    return (population - _most(n - k, n, population, alpha)) / population


def _most(k: int, n: int, population: int, alpha: float) -> int:
    """The largest K that is not excluded; the chance of k or fewer falls as K grows."""
    check_counts(k, n, alpha)
    if population < max(n, 1):
        raise ValueError(f"a population must hold the {n} units drawn, but has {population}")
    possible, excluded = k, population - (n - k) + 1
    while excluded - possible > 1:
        middle = (possible + excluded) // 2
        if _at_most(k, n, middle, population) > alpha * (1 - _ROUNDING):
            possible = middle
        else:
            excluded = middle
    return possible


def _at_most(k: int, n: int, yes: int, population: int) -> float:
    """P(X <= k), X the successes among n drawn from a population with `yes` of them."""
    no = population - yes
    ways = _log_choose(population, n)
    return math.fsum(
        math.exp(_log_choose(yes, j) + _log_choose(no, n - j) - ways)
        for j in range(max(0, n - no), min(k, yes) + 1)
    )


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
