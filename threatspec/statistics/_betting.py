"""Bounds on the mean of scores between 0 and 1, by betting; valid at every stopping time.

The unit is the cluster: one score for each unit that was drawn by itself, in an order that was
fixed before any was seen. Waudby-Smith & Ramdas, arXiv 2010.09686.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import accumulate
from operator import mul

__all__ = ["betting_lower", "betting_p", "betting_upper"]

_PRECISION = 1e-9
_PARTS = 8
# Dense near 0, for small effects of many units, and near 1, for scores that are all alike: the
# middles of equal shares of the arcsine law, which the e-process of one proportion uses too.
_STAKES = tuple(math.sin((part + 0.5) * math.pi / (2 * _PARTS)) ** 2 for part in range(_PARTS))


def betting_lower(scores: Sequence[float], alpha: float) -> float:
    """The best lower bound at level 1 - alpha on the mean, of those after each score; 0 if none.

    A capital of 1 is bet on "the mean is above m": in equal parts, each staking a fixed share c at
    every score x, which multiplies it by 1 - c + c x / m. If the mean is at most m the capital does
    not grow on average, so it ever reaches 1/alpha with chance at most alpha (Ville 1939): such m
    are rejected. It falls as m grows, so one m divides the rejected from the rest. Stakes that
    adapt to scores win a little sooner, but a higher score could then lower the bound.
    Raises ValueError for a score outside 0 to 1.
    """
    _check(scores, alpha)
    rejected, open_end = 0.0, 1.0
    while open_end - rejected > _PRECISION:
        middle = (rejected + open_end) / 2
        if _reaches(_PARTS / alpha, scores, middle):
            rejected = middle
        else:
            open_end = middle
    return rejected


def betting_upper(scores: Sequence[float], alpha: float) -> float:
    """The best upper bound at level 1 - alpha on the mean: the mirrored lower one; 1 if no score.

    Raises ValueError for a score outside 0 to 1.
    """
    return 1 - betting_lower([1 - score for score in scores], alpha)


def betting_p(scores: Sequence[float], m: float) -> float:
    """p-value against "the mean is at most m": 1 over the most that the capital ever was.

    The least level at which `betting_lower` exceeds m. Raises ValueError as that does.
    """
    _check(scores, 0.5)
    if m <= 0:
        return 0.0 if any(scores) else 1.0
    return min(1.0, _PARTS / max(_capital(scores, m), default=_PARTS))


def _reaches(goal: float, scores: Sequence[float], m: float) -> bool:
    """Whether the parts, of 1 each to begin with, ever add up to `goal`."""
    return any(now >= goal for now in _capital(scores, m))


def _capital(scores: Sequence[float], m: float) -> Iterator[float]:
    """All parts together after each score."""
    gains = [score / m for score in scores]
    parts = [accumulate([1 - stake + stake * gain for gain in gains], mul) for stake in _STAKES]
    return map(sum, zip(*parts, strict=True))


def _check(scores: Sequence[float], alpha: float) -> None:
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie between 0 and 1, but got {alpha}")
    for score in scores:
        if not 0 <= score <= 1:
            raise ValueError(f"scores must lie between 0 and 1, but got {score}")
