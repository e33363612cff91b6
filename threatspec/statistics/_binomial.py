"""One proportion, exactly: Clopper-Pearson bounds and binomial p-values with `math` alone.

Verdicts use these because they are valid for every true rate; the Wilson interval is for display.
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

from threatspec.statistics._interval import Interval

__all__ = [
    "beta_cdf",
    "beta_quantile",
    "check_counts",
    "log_beta_tails",
    "lower_bound",
    "p_exceeds",
    "p_falls_short",
    "upper_bound",
    "wilson",
]

_TINY = 1e-300
_PRECISION = 1e-15
_CACHE = 1 << 16


def beta_cdf(x: float, a: float, b: float) -> float:
    """Regularised incomplete beta function I_x(a, b), for a, b > 0.

    Continued fraction of DLMF 8.17.22, on the side of the mean where it converges fast.
    """
    if x <= 0:
        return 0.0
    if x >= 1:
        return 1.0
    front = math.exp(_log_beta_kernel(x, a, b))
    if x < (a + 1) / (a + b + 2):
        return min(1.0, front * _fraction(x, a, b) / a)
    return max(0.0, 1 - front * _fraction(1 - x, b, a) / b)


def log_beta_tails(x: float, a: float, b: float) -> tuple[float, float]:
    """(ln I_x, ln (1 - I_x)) of I_x(a, b), for 0 < x < 1 and a, b >= 1/2.

    Each keeps its digits where the tail itself is too small for a float.
    """
    front = _log_beta_kernel(x, a, b)
    if x < (a + 1) / (a + b + 2):
        small = front + math.log(_fraction(x, a, b) / a)
        return small, math.log1p(-math.exp(small))
    small = front + math.log(_fraction(1 - x, b, a) / b)
    return math.log1p(-math.exp(small)), small


def _log_beta_kernel(x: float, a: float, b: float) -> float:
    log_beta = math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
    return a * math.log(x) + b * math.log1p(-x) - log_beta


def _fraction(x: float, a: float, b: float) -> float:
    """The continued fraction by Lentz's method; needs about sqrt(max(a, b)) terms."""
    c, d = 1.0, 1 / _away_from_zero(1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, 100_000):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / _away_from_zero(1 + term * d)
            c = _away_from_zero(1 + term / c)
            value *= c * d
        if abs(c * d - 1) < _PRECISION:
            return value
    raise ArithmeticError(f"the incomplete beta function must converge at a={a}, b={b}, x={x}")


def _away_from_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


def beta_quantile(q: float, a: float, b: float) -> float:
    """The x with I_x(a, b) = q: Newton steps inside a bracket, bisection where they leave it.

    Steps are taken on log-log scale, where the lower tail is a straight line.
    """
    low, high, x = 0.0, 1.0, a / (a + b)
    for _ in range(400):
        below = beta_cdf(x, a, b)
        low, high = (low, x) if below > q else (x, high)
        slope = math.exp(_log_beta_kernel(x, a, b)) / (1 - x)
        step = -1.0
        if min(below, slope) > _TINY:
            step = x * math.exp(min(700.0, math.log(q / below) * below / slope))
        if abs(step - x) <= _PRECISION * x or high - low <= _PRECISION * high:
            return x
        x = step if low < step < high else (low + high) / 2
    return x


@lru_cache(maxsize=_CACHE)
def lower_bound(k: int, n: int, alpha: float) -> float:
    """One-sided lower bound at level 1 - alpha for k successes of n; 0 if k = 0 or n = 0.

    L = BetaInv(alpha; k, n - k + 1) (Clopper & Pearson 1934; golden values in the tests).
    """
    check_counts(k, n, alpha)
    return 0.0 if k == 0 else beta_quantile(alpha, k, n - k + 1)


@lru_cache(maxsize=_CACHE)
def upper_bound(k: int, n: int, alpha: float) -> float:
    """One-sided upper bound at level 1 - alpha for k successes of n; 1 if k = n or n = 0.

    U = BetaInv(1 - alpha; k + 1, n - k), computed as the mirrored lower bound, which loses no
    digits when alpha is small.
    """
    check_counts(k, n, alpha)
    return 1.0 if k == n else 1 - beta_quantile(alpha, n - k, k + 1)


def p_exceeds(k: int, n: int, p0: float) -> float:
    """Exact p-value against "the rate is at most p0": P(X >= k) for X ~ Bin(n, p0)."""
    check_counts(k, n)
    return 1.0 if k == 0 else beta_cdf(p0, k, n - k + 1)


def p_falls_short(k: int, n: int, p0: float) -> float:
    """Exact p-value against "the rate is at least p0": P(X <= k) for X ~ Bin(n, p0)."""
    check_counts(k, n)
    return 1.0 if k == n else beta_cdf(1 - p0, n - k, k + 1)


def wilson(k: int, n: int, alpha: float) -> Interval:
    """Wilson score interval, one-sided alpha at each end. For display only: it can undercover.

    (p + z²/2n ± z sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n), Wilson 1927.
    """
    check_counts(k, n, alpha)
    if n == 0:
        return Interval(0.0, 1.0)
    z, p = -NormalDist().inv_cdf(alpha), k / n
    centre = p + z * z / (2 * n)
    spread = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    low = 0.0 if k == 0 else max(0.0, (centre - spread) / scale)
    high = 1.0 if k == n else min(1.0, (centre + spread) / scale)
    return Interval(low, high)


def check_counts(k: int, n: int, alpha: float = 0.5) -> None:
    """Raise ValueError unless 0 <= k <= n and 0 < alpha < 1."""
    if not 0 <= k <= n:
        raise ValueError(f"successes must lie between 0 and {n} trials, but got {k}")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie between 0 and 1, but got {alpha}")
