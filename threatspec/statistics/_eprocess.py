"""One proportion, watched as it grows: e-values and bounds that hold at every stopping time.

An e-process is a bet against a hypothesis that does not grow on average while it is true, whenever
one stops; so the chance that it ever reaches 1/alpha is at most alpha (Ville 1939). Units must
come in random order, and the rule that stops may use all that was seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

from threatspec.statistics._binomial import check_counts, log_beta_tails

__all__ = ["log_e_refute", "log_e_support", "sequence_lower", "sequence_upper"]

_A = _B = 0.5
_LOG_BETA_AB = math.log(math.pi)
_PRECISION = 1e-12
_CACHE = 1 << 16


def log_e_support(yes: int, no: int, p0: float) -> float:
    """Log of the e-value against "the rate is above p0"; from -ln alpha on, p0 is supported.

    The likelihood, averaged over a Beta(1/2, 1/2) prior cut off above p0, against that at p0:
    ln B(a+s, b+f) + ln I_p0(a+s, b+f) - ln B(a, b) - ln I_p0(a, b) - s ln p0 - f ln(1 - p0).
    Monotone likelihood ratios make it valid for every rate above p0 too. Golden values in the
    tests. At p0 = 0 there is nothing to bet on, at p0 = 1 nothing to bet against.
    """
    check_counts(yes, yes + no)
    if not 0 < p0 < 1:
        return math.inf if p0 >= 1 else 0.0
    below, _ = log_beta_tails(p0, _A + yes, _B + no)
    prior, _ = log_beta_tails(p0, _A, _B)
    return _log_mixture(yes, no, p0) + below - prior


def log_e_refute(yes: int, no: int, p0: float) -> float:
    """Log of the e-value against "the rate is at most p0"; from -ln alpha on, p0 is refuted.

    As `log_e_support`, with the prior cut off below p0. At p0 = 0 one success settles it.
    """
    check_counts(yes, yes + no)
    if not 0 < p0 < 1:
        return math.inf if p0 <= 0 and yes else 0.0
    _, above = log_beta_tails(p0, _A + yes, _B + no)
    _, prior = log_beta_tails(p0, _A, _B)
    return _log_mixture(yes, no, p0) + above - prior


def _log_mixture(yes: int, no: int, p0: float) -> float:
    """Log of the likelihood averaged over the whole prior, against that at p0."""
    a, b = _A + yes, _B + no
    log_beta = math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
    return log_beta - _LOG_BETA_AB - yes * math.log(p0) - no * math.log1p(-p0)


@lru_cache(maxsize=_CACHE)
def sequence_lower(k: int, n: int, alpha: float) -> float:
    """Lower end of the confidence sequence after k successes of n; 0 if k = 0 or n = 0.

    Every p0 up to it is refuted at alpha, at this n as at any other. One p0 divides the two sides:
    with p = sin² t the prior is uniform in t, and the e-value is the mean of L(u t) / L(t) over u
    in (0, 1), or the mirror image; each ratio is monotone in t, for so is t (ln L)'(t).
    """
    check_counts(k, n, alpha)
    if k == 0:
        return 0.0

    def excess(log_p0: float) -> float:
        return log_e_refute(k, n - k, math.exp(log_p0)) + math.log(alpha)

    open_end = math.log(k / n)
    refuted = open_end - 1
    while excess(refuted) < 0:
        open_end, refuted = refuted, refuted - 2 * (open_end - refuted)
    return math.exp(_crossing(excess, refuted, open_end))


def _crossing(excess: Callable[[float], float], above: float, below: float) -> float:
    """Where a falling function crosses 0, from the side where it is not below 0.

    Secants within a bracket, the end that stays halved in height (Dowell & Jarratt 1971): near 0
    the e-value is a power of p0, and its logarithm a straight line.
    """
    high, low = excess(above), excess(below) if below < 0 else -1.0
    while below - above > _PRECISION:
        middle = above + (below - above) * min(0.999, max(0.001, high / (high - low)))
        height = excess(middle)
        if height >= 0:
            above, high, low = middle, height, low / 2
        else:
            below, low, high = middle, height, high / 2
    return above


def sequence_upper(k: int, n: int, alpha: float) -> float:
    """Upper end of the confidence sequence after k successes of n; 1 if k = n or n = 0.

    Every p0 from it on is supported at alpha, at this n as at any other: the mirrored lower end.
    """
    return 1 - sequence_lower(n - k, n, alpha)
