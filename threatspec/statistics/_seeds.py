"""What tested replicates say about seeds that nobody ran.

A seed is good if its true rate is within the limit, bad if it exceeds it. Given the prompts,
replicates are independent draws of seeds; prompts that all of them share make their errors alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import lru_cache

from threatspec.statistics._binomial import check_counts, p_exceeds

__all__ = [
    "PromptDraw",
    "bad_seed_share_lower",
    "quantile_refutes",
    "replicate_alpha",
    "replicates_for_share",
    "replicates_to_refute",
    "seed_share",
]

_PRECISION = 1e-9
"""Of maxima and bounds; what it leaves open counts against refuting."""


class PromptDraw(StrEnum):
    """Which prompts the replicates meet."""

    SHARED = "shared"
    """One sample, the same for all."""
    INDEPENDENT = "independent"
    """Each a sample of its own."""
    ENUMERATED = "enumerated"
    """All prompts that the claim is about, so that no replicate is misjudged."""


def seed_share(
    replicates: int, alpha: float, gamma: float, draw: PromptDraw = PromptDraw.SHARED
) -> float:
    """The share of good seeds, at least, with confidence 1 - gamma, if all `replicates` passed.

    Each must have passed at level alpha. Given shared prompts a bad seed passes with some chance,
    which is alpha at most on average, so by convexity all S pass with chance at most
    (1 - alpha) q^S + alpha if q are good: q = ((gamma - alpha) / (1 - alpha))^(1/S). Independent
    prompts give (gamma^(1/S) - alpha) / (1 - alpha), all prompts gamma^(1/S), the success run.
    Raises ValueError unless alpha < gamma < 1. Golden values in the tests.
    """
    if not (replicates >= 0 and 0 < alpha < gamma < 1):
        raise ValueError(
            "replicates must be at least 0, and 0 < alpha < gamma < 1, but got "
            f"{replicates}, {alpha}, {gamma}"
        )
    if replicates == 0:
        return 0.0
    passing, misjudged = _passing(alpha, gamma, draw)
    return max(0.0, (math.pow(passing, 1 / replicates) - misjudged) / (1 - misjudged))


def replicates_for_share(
    share: float, alpha: float, gamma: float, draw: PromptDraw = PromptDraw.SHARED
) -> int | None:
    """The fewest replicates with a `seed_share` of `share` if all pass; None if no number has."""
    if share >= 1:
        return None
    passing, misjudged = _passing(alpha, gamma, draw)
    one = share * (1 - misjudged) + misjudged
    near = max(1, math.floor(math.log(passing) / math.log(one))) if one > 0 else 1
    return near if seed_share(near, alpha, gamma, draw) >= share else near + 1


def _passing(alpha: float, gamma: float, draw: PromptDraw) -> tuple[float, float]:
    """The chance left for all to pass, and the chance that a bad seed passes by itself."""
    match draw:
        case PromptDraw.SHARED:
            return (gamma - alpha) / (1 - alpha), 0.0
        case PromptDraw.INDEPENDENT:
            return gamma, alpha
        case PromptDraw.ENUMERATED:
            return gamma, 0.0


def replicate_alpha(alpha: float) -> float:
    """The level at which single replicates are to be refuted for `bad_seed_share_lower` at alpha.

    Half of it; the rest is for the chance that more of the drawn seeds are bad than of all seeds.
    """
    return alpha / 2


@lru_cache(maxsize=4096)
def bad_seed_share_lower(
    refuted: int, replicates: int, alpha: float, draw: PromptDraw = PromptDraw.SHARED
) -> float:
    """Lower bound at level 1 - alpha on the share of bad seeds, from replicates refuted singly.

    Each must have been refuted at a = `replicate_alpha(alpha)`. If b are bad, the prompts decide
    with which chance e a good seed is refuted, on average at most a; then each replicate is refuted
    with chance at most b + (1 - b) e, independently, and m of S with G(e) = P(Bin(S, ...) >= m).
    The worst law of e puts G on its least concave majorant at a: e is 0 or one e* >= a. Bounded is
    that worst case, which grows with b; so neither the split of alpha nor prompts that mislead
    every good seed at once make it err more often than alpha.
    """
    check_counts(refuted, replicates, alpha)
    each = replicate_alpha(alpha)
    excluded, possible = 0.0, 1.0
    if refuted == 0 or _worst(refuted, replicates, 0.0, each, draw) > alpha:
        return 0.0
    while possible - excluded > _PRECISION:
        middle = (excluded + possible) / 2
        if _worst(refuted, replicates, middle, each, draw) <= alpha:
            excluded = middle
        else:
            possible = middle
    return excluded


def replicates_to_refute(
    replicates: int, share: float, alpha: float, draw: PromptDraw = PromptDraw.SHARED
) -> int | None:
    """How many refuted ones of `replicates` refute "at least `share` of seeds are good"; or None.

    Each must be refuted at `replicate_alpha(alpha)`.
    """
    each = replicate_alpha(alpha)
    counts = range(1, replicates + 1)
    enough = (m for m in counts if _worst(m, replicates, 1 - share, each, draw) <= alpha)
    return next(enough, None)


def quantile_refutes(
    p_values: Sequence[float], share: float, alpha: float, draw: PromptDraw = PromptDraw.SHARED
) -> bool:
    """Whether "at least `share` of seeds are good" is refuted at alpha by the replicates' p-values.

    Each is against "this seed is good"; a replicate that shows nothing has 1.
    """
    refuted = sum(p <= replicate_alpha(alpha) for p in p_values)
    enough = replicates_to_refute(len(p_values), share, alpha, draw)
    return enough is not None and refuted >= enough


def _worst(m: int, replicates: int, bad: float, each: float, draw: PromptDraw) -> float:
    """The largest chance that m or more are refuted if the share `bad` of seeds is."""

    def chance(e: float) -> float:
        return p_exceeds(m, replicates, bad + (1 - bad) * e)

    def chord(e: float) -> float:
        return never + each * (chance(e) - never) / e

    never = chance(0.0)
    match draw:
        case PromptDraw.SHARED:
            return _highest(chord, each, 1.0) + _PRECISION
        case PromptDraw.INDEPENDENT:
            return chance(each)
        case PromptDraw.ENUMERATED:
            return never


def _highest(rises_then_falls: Callable[[float], float], low: float, high: float) -> float:
    """The maximum between two points, by cutting off the lower third again and again."""
    while high - low > _PRECISION:
        left, right = (2 * low + high) / 3, (low + 2 * high) / 3
        if rises_then_falls(left) <= rises_then_falls(right):
            low = left
        else:
            high = right
    return rises_then_falls((low + high) / 2)
