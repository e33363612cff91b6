"""One proportion: golden values, other implementations, and exact coverage by enumeration."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import scipy.special
import scipy.stats
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from threatspec.statistics import (
    beta_cdf,
    beta_quantile,
    lower_bound,
    p_exceeds,
    p_falls_short,
    upper_bound,
    wilson,
)

CLOSE = 1e-9
TINY = 1e-100  # below it scipy itself loses digits
SIZES = (1, 2, 3, 5, 8, 13, 20, 29, 50, 100, 200)
ALPHAS = (0.2, 0.05, 0.01, 0.0025)

# One-sided 95 %: k, n, Clopper-Pearson lower and upper, Wilson lower and upper.
# Source: computed with scipy 1.17 and statsmodels 0.15, printed to five decimals.
GOLDEN = [
    (0, 29, 0.0, 0.09814, 0.0, 0.08533),
    (0, 100, 0.0, 0.02951, 0.0, 0.02634),
    (1, 100, 0.00051, 0.04656, 0.00223, 0.04358),
    (4, 100, 0.01378, 0.08920, 0.01808, 0.08615),
    (5, 100, 0.01991, 0.10225, 0.02455, 0.09916),
    (10, 100, 0.05526, 0.16372, 0.06072, 0.16036),
    (20, 100, 0.13666, 0.27720, 0.14250, 0.27330),
    (7, 320, 0.01031, 0.04069, 0.01190, 0.03986),
    (20, 320, 0.04180, 0.08953, 0.04370, 0.08863),
    (10, 10, 0.74113, 1.0, 0.78706, 1.0),
]
BOUNDS = [lower_bound, upper_bound, wilson]

rates = st.floats(1e-6, 1 - 1e-6)
alphas = st.floats(1e-6, 0.5)


@st.composite
def counts(draw: st.DrawFn, least: int = 1, most: int = 5000) -> tuple[int, int]:
    n = draw(st.integers(least, most))
    return draw(st.integers(0, n)), n


@pytest.mark.parametrize(("k", "n", "low", "high", "wilson_low", "wilson_high"), GOLDEN)
def test_golden_values_of_both_intervals(
    k: int, n: int, low: float, high: float, wilson_low: float, wilson_high: float
) -> None:
    shown = wilson(k, n, 0.05)
    found = (lower_bound(k, n, 0.05), upper_bound(k, n, 0.05), shown.lower, shown.upper)
    assert found == pytest.approx((low, high, wilson_low, wilson_high), abs=5.1e-6)


def test_five_of_a_hundred_does_not_support_ten_percent_though_wilson_would() -> None:
    assert upper_bound(5, 100, 0.05) > 0.10 > wilson(5, 100, 0.05).upper
    assert upper_bound(4, 100, 0.05) <= 0.10


@pytest.mark.parametrize(("missing", "bound"), [(0, 0.0892), (1, 0.1023), (2, 0.115), (5, 0.152)])
def test_golden_bounds_with_missing_answers_counted_as_successes(
    missing: int, bound: float
) -> None:
    # Source: 4 of 100 with some of the 96 unread, computed with scipy 1.17.
    assert upper_bound(4 + missing, 100, 0.05) == pytest.approx(bound, abs=5.1e-4)


def test_golden_p_value_of_mcnemar() -> None:
    # Source: exact McNemar test of [[80, 12], [3, 5]], statsmodels 0.15.
    assert 2 * p_falls_short(3, 15, 0.5) == pytest.approx(0.03515625, rel=1e-12)


@pytest.mark.parametrize("alpha", [0.5, 0.2, 0.05, 0.01, 0.05 / 20, 1e-4, 1e-6])
@pytest.mark.parametrize("n", [1, 2, 3, 10, 29, 100, 320, 1000, 5000, 100_000])
def test_bounds_agree_with_scipy_on_a_grid(n: int, alpha: float) -> None:
    ks = sorted({k for k in (0, 1, 2, 5, n // 10, n // 3, n // 2, n - 2, n - 1, n) if 0 <= k <= n})
    for k in ks:
        low = scipy.stats.beta.ppf(alpha, k, n - k + 1) if k else 0.0
        high = scipy.stats.beta.isf(alpha, k + 1, n - k) if k < n else 1.0
        assert lower_bound(k, n, alpha) == pytest.approx(low, rel=CLOSE)
        assert upper_bound(k, n, alpha) == pytest.approx(high, rel=CLOSE)


@settings(deadline=None)
@given(counts(), alphas)
def test_bounds_agree_with_scipy_and_statsmodels(drawn: tuple[int, int], alpha: float) -> None:
    k, n = drawn
    low, high = lower_bound(k, n, alpha), upper_bound(k, n, alpha)
    if k > 0:
        assert low == pytest.approx(scipy.stats.beta.ppf(alpha, k, n - k + 1), rel=CLOSE)
    if k < n:
        assert high == pytest.approx(scipy.stats.beta.isf(alpha, k + 1, n - k), rel=CLOSE)
    if alpha < 0.5:
        two_sided = proportion_confint(k, n, alpha=2 * alpha, method="beta")
        assert (low, high) == pytest.approx(two_sided, rel=CLOSE, abs=1e-15)


@settings(deadline=None)
@given(counts(), st.floats(1e-6, 0.49))
def test_wilson_agrees_with_statsmodels(drawn: tuple[int, int], alpha: float) -> None:
    k, n = drawn
    shown = wilson(k, n, alpha)
    expected = proportion_confint(k, n, alpha=2 * alpha, method="wilson")
    assert (shown.lower, shown.upper) == pytest.approx(expected, rel=CLOSE, abs=1e-12)


@settings(deadline=None)
@given(counts(), rates)
def test_p_values_agree_with_scipy(drawn: tuple[int, int], p0: float) -> None:
    k, n = drawn
    exceeds, short = scipy.stats.binom.sf(k - 1, n, p0), scipy.stats.binom.cdf(k, n, p0)
    assert p_exceeds(k, n, p0) == pytest.approx(exceeds, rel=CLOSE, abs=TINY)
    assert p_falls_short(k, n, p0) == pytest.approx(short, rel=CLOSE, abs=TINY)


@pytest.mark.parametrize("p0", [Fraction(1, 1000), Fraction(1, 10), Fraction(1, 2), Fraction(7, 8)])
@pytest.mark.parametrize("n", [1, 2, 7, 30, 90])
def test_p_values_agree_with_sums_of_fractions(n: int, p0: Fraction) -> None:
    pmf = [math.comb(n, j) * p0**j * (1 - p0) ** (n - j) for j in range(n + 1)]
    for k in range(n + 1):
        assert p_exceeds(k, n, float(p0)) == pytest.approx(float(sum(pmf[k:])), rel=CLOSE)
        assert p_falls_short(k, n, float(p0)) == pytest.approx(float(sum(pmf[: k + 1])), rel=CLOSE)


@settings(deadline=None)
@given(st.floats(1e-9, 1 - 1e-9), st.floats(0.05, 500), st.floats(0.05, 500))
def test_beta_cdf_agrees_with_scipy(x: float, a: float, b: float) -> None:
    expected = float(scipy.special.betainc(a, b, x))
    assume(expected > TINY)
    assert beta_cdf(x, a, b) == pytest.approx(expected, rel=CLOSE)


@settings(deadline=None)
@given(st.floats(1e-6, 1 - 1e-6), st.floats(1, 500), st.floats(1, 500))
def test_beta_quantile_inverts_beta_cdf(q: float, a: float, b: float) -> None:
    assert beta_cdf(beta_quantile(q, a, b), a, b) == pytest.approx(q, rel=CLOSE)
    assert beta_quantile(q, a, b) == pytest.approx(scipy.stats.beta.ppf(q, a, b), rel=CLOSE)


def _pmf(n: int, at: np.ndarray) -> np.ndarray:
    """P(X = k) for every k (rows) at every rate (columns)."""
    return scipy.stats.binom.pmf(np.arange(n + 1)[:, None], n, at[None, :])


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("n", SIZES)
def test_upper_bound_covers_every_rate(n: int, alpha: float) -> None:
    uppers = np.array([upper_bound(k, n, alpha) for k in range(n + 1)])
    worst = uppers[:-1] * (1 + 1e-12)  # just above a bound its outcome no longer covers
    at = np.concatenate([np.linspace(0, 1, 201), worst])
    coverage = (_pmf(n, at) * (uppers[:, None] >= at[None, :])).sum(axis=0)
    assert coverage.min() >= 1 - alpha - 1e-9
    # There it is 1 - alpha exactly, so no smaller bound that grows with k would be valid.
    assert coverage[201:] == pytest.approx(np.full(n, 1 - alpha), abs=1e-9)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("n", SIZES)
def test_lower_bound_covers_every_rate(n: int, alpha: float) -> None:
    lowers = np.array([lower_bound(k, n, alpha) for k in range(n + 1)])
    worst = lowers[1:] * (1 - 1e-12)
    at = np.concatenate([np.linspace(0, 1, 201), worst])
    coverage = (_pmf(n, at) * (lowers[:, None] <= at[None, :])).sum(axis=0)
    assert coverage.min() >= 1 - alpha - 1e-9
    assert coverage[201:] == pytest.approx(np.full(n, 1 - alpha), abs=1e-9)


@pytest.mark.parametrize(("rate", "coverage"), [(0.10, 0.976), (0.02, 1.0)])
def test_golden_coverage_of_the_upper_bound(rate: float, coverage: float) -> None:
    # Source: coverage of the one-sided 95 % bound at n = 100, computed with scipy 1.17.
    uppers = np.array([upper_bound(k, 100, 0.05) for k in range(101)])
    found = _pmf(100, np.array([rate]))[uppers >= rate].sum()
    assert found == pytest.approx(coverage, abs=5.1e-4)


@pytest.mark.parametrize("p0", [0.001, 0.05, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("n", SIZES)
def test_p_values_are_at_most_a_with_chance_at_most_a(n: int, p0: float) -> None:
    exceeds = np.array([p_exceeds(k, n, p0) for k in range(n + 1)])
    short = np.array([p_falls_short(k, n, p0) for k in range(n + 1)])
    for p_values, rates_under_null in (
        (exceeds, np.linspace(0, p0, 6)),
        (short, np.linspace(p0, 1, 6)),
    ):
        levels = np.concatenate([np.linspace(0.001, 1, 100), p_values])
        small = (p_values[:, None] <= levels[None, :]).astype(float)
        chance = _pmf(n, rates_under_null).T @ small
        assert (chance <= levels[None, :] * (1 + 1e-9)).all()


@settings(deadline=None)
@given(counts(most=300), rates, st.floats(1e-4, 0.9))
def test_bounds_and_p_values_decide_alike(drawn: tuple[int, int], p0: float, alpha: float) -> None:
    k, n = drawn
    above, below = lower_bound(k, n, alpha) - p0, p0 - upper_bound(k, n, alpha)
    if abs(above) > 1e-10:
        assert (p_exceeds(k, n, p0) <= alpha) == (above > 0)
    if abs(below) > 1e-10:
        assert (p_falls_short(k, n, p0) <= alpha) == (below > 0)


@settings(deadline=None)
@given(counts(most=1000), alphas)
def test_the_bound_is_where_the_p_value_is_alpha(drawn: tuple[int, int], alpha: float) -> None:
    k, n = drawn
    if k > 0:
        assert p_exceeds(k, n, lower_bound(k, n, alpha)) == pytest.approx(alpha, rel=1e-7)
    if k < n:
        assert p_falls_short(k, n, upper_bound(k, n, alpha)) == pytest.approx(alpha, rel=1e-7)


@settings(deadline=None)
@given(counts(most=2000), alphas)
def test_bounds_move_with_successes_and_trials(drawn: tuple[int, int], alpha: float) -> None:
    k, n = drawn
    for bound in (lower_bound, upper_bound):
        if k < n:
            assert bound(k, n, alpha) < bound(k + 1, n, alpha)
        assert bound(k, n, alpha) >= bound(k, n + 1, alpha)  # one more failure
        assert bound(k, n, alpha) <= bound(k + 1, n + 1, alpha)  # one more success


@settings(deadline=None)
@given(counts(most=2000), alphas, alphas)
def test_more_confidence_gives_wider_bounds(
    drawn: tuple[int, int], one: float, other: float
) -> None:
    k, n = drawn
    strict, lax = sorted((one, other))
    assert lower_bound(k, n, strict) <= lower_bound(k, n, lax) + 1e-15
    assert upper_bound(k, n, strict) >= upper_bound(k, n, lax) - 1e-15
    wide, narrow = wilson(k, n, strict), wilson(k, n, lax)
    assert wide.lower <= narrow.lower + 1e-15
    assert wide.upper >= narrow.upper - 1e-15


@settings(deadline=None)
@given(counts(most=500), rates, rates)
def test_p_values_move_with_successes_and_the_null(
    drawn: tuple[int, int], one: float, other: float
) -> None:
    k, n = drawn
    small, large = sorted((one, other))
    slack = 1 + 1e-9
    assert p_exceeds(k, n, small) <= p_exceeds(k, n, large) * slack
    assert p_falls_short(k, n, large) <= p_falls_short(k, n, small) * slack
    if k < n:
        assert p_exceeds(k + 1, n, small) <= p_exceeds(k, n, small) * slack
        assert p_falls_short(k, n, small) <= p_falls_short(k + 1, n, small) * slack
        assert p_falls_short(k, n, small) + p_exceeds(k + 1, n, small) == pytest.approx(1)


@settings(deadline=None)
@given(counts(most=5000), alphas)
def test_successes_and_failures_mirror_each_other(drawn: tuple[int, int], alpha: float) -> None:
    k, n = drawn
    mirrored = 1 - lower_bound(n - k, n, alpha)
    assert upper_bound(k, n, alpha) == pytest.approx(mirrored, rel=CLOSE)
    shown, flipped = wilson(k, n, alpha), wilson(n - k, n, alpha)
    assert shown.lower == pytest.approx(1 - flipped.upper, abs=1e-12)


@settings(deadline=None)
@given(counts(), st.floats(1e-6, 0.49))
def test_intervals_hold_the_estimate_and_are_never_of_zero_width(
    drawn: tuple[int, int], alpha: float
) -> None:
    k, n = drawn
    for low, high in (
        (lower_bound(k, n, alpha), upper_bound(k, n, alpha)),
        (wilson(k, n, alpha).lower, wilson(k, n, alpha).upper),
    ):
        assert 0 <= low <= k / n <= high <= 1
        assert low < high


@pytest.mark.parametrize("n", [1, 10, 1000])
def test_no_and_only_successes_have_closed_forms(n: int) -> None:
    assert lower_bound(0, n, 0.05) == 0
    assert upper_bound(0, n, 0.05) == pytest.approx(1 - 0.05 ** (1 / n), rel=CLOSE)
    assert lower_bound(n, n, 0.05) == pytest.approx(0.05 ** (1 / n), rel=CLOSE)
    assert upper_bound(n, n, 0.05) == 1
    assert wilson(0, n, 0.05).lower == 0
    assert wilson(n, n, 0.05).upper == 1


def test_no_trials_say_nothing() -> None:
    assert (lower_bound(0, 0, 0.05), upper_bound(0, 0, 0.05)) == (0, 1)
    assert (wilson(0, 0, 0.05).lower, wilson(0, 0, 0.05).upper) == (0, 1)
    assert p_exceeds(0, 0, 0.1) == p_falls_short(0, 0, 0.1) == 1


def test_impossible_and_certain_nulls() -> None:
    assert [p_exceeds(k, 5, 0.0) for k in (0, 1, 5)] == [1, 0, 0]
    assert [p_exceeds(k, 5, 1.0) for k in (0, 1, 5)] == [1, 1, 1]
    assert [p_falls_short(k, 5, 1.0) for k in (0, 4, 5)] == [0, 0, 1]
    assert [p_falls_short(k, 5, 0.0) for k in (0, 4, 5)] == [1, 1, 1]


@pytest.mark.parametrize("n", [1_000_000, 100_000_000])
def test_many_trials_are_fast_enough_and_right(n: int) -> None:
    k = n // 10
    assert lower_bound(k, n, 0.05) == pytest.approx(scipy.stats.beta.ppf(0.05, k, n - k + 1))
    assert p_exceeds(k, n, 0.1) == pytest.approx(scipy.stats.binom.sf(k - 1, n, 0.1))


@pytest.mark.parametrize("alpha", [1e-12, 1e-20, 1e-100])
@pytest.mark.parametrize(("k", "n"), [(1, 1000), (5, 10), (500, 1000)])
def test_bounds_stay_exact_for_a_tiny_alpha(k: int, n: int, alpha: float) -> None:
    expected = scipy.stats.beta.ppf(alpha, k, n - k + 1)
    assert lower_bound(k, n, alpha) == pytest.approx(expected, rel=CLOSE, abs=0)
    assert upper_bound(k, n, alpha) == pytest.approx(scipy.stats.beta.isf(alpha, k + 1, n - k))
    assert 0 <= wilson(k, n, alpha).lower < k / n < wilson(k, n, alpha).upper <= 1


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, 1.5, math.nan, math.inf])
def test_impossible_levels_are_refused(
    bound: Callable[[int, int, float], object], alpha: float
) -> None:
    with pytest.raises(ValueError, match="alpha must lie between 0 and 1"):
        bound(3, 10, alpha)


@pytest.mark.parametrize("function", [*BOUNDS, p_exceeds, p_falls_short])
@pytest.mark.parametrize(("k", "n"), [(-1, 10), (11, 10), (0, -1), (1, 0)])
def test_impossible_counts_are_refused(
    function: Callable[[int, int, float], object], k: int, n: int
) -> None:
    with pytest.raises(ValueError, match="successes must lie between"):
        function(k, n, 0.05)
