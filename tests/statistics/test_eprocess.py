"""The e-process: golden values, quadrature, Ville's inequality by an exact dynamic programme."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from threatspec.statistics import (
    log_e_refute,
    log_e_support,
    lower_bound,
    sequence_lower,
    sequence_upper,
    upper_bound,
)

ALPHA = 0.05
EProcess = Callable[[int, int, float], float]
Boundary = list[tuple[int, int]]

# Successes, trials, log E for support and for refutation at p0 = .10.
# Source: checked against quadrature, scipy 1.17.
GOLDEN = [
    (0, 10, 0.750384, -2.408425),
    (0, 50, 4.321573, -3.812636),
    (2, 100, 4.161124, -4.274616),
    (5, 100, 0.679651, -3.911907),
    (15, 100, -2.637901, -1.135520),
    (30, 100, -3.798734, 13.064368),
]

rates = st.floats(1e-6, 1 - 1e-6)
alphas = st.floats(1e-6, 0.5)


@st.composite
def counts(draw: st.DrawFn, least: int = 0, most: int = 2000) -> tuple[int, int]:
    n = draw(st.integers(least, most))
    return draw(st.integers(0, n)), n


@pytest.mark.parametrize(("k", "n", "support", "refute"), GOLDEN)
def test_golden_values(k: int, n: int, support: float, refute: float) -> None:
    found = (log_e_support(k, n - k, 0.1), log_e_refute(k, n - k, 0.1))
    assert found == pytest.approx((support, refute), abs=1e-6)


def _quadrature(yes: int, no: int, p0: float, low: float, high: float) -> float:
    """Log of the mean of the likelihood ratio over p = sin² t, t uniform between the limits."""

    def ratio(t: float) -> float:
        p = math.sin(t) ** 2
        return math.exp(yes * math.log(p / p0) + no * math.log((1 - p) / (1 - p0)))

    area, _ = scipy.integrate.quad(ratio, low, high, epsabs=0, epsrel=1e-10, limit=500)
    return math.log(area / (high - low))


@pytest.mark.parametrize("p0", [0.01, 0.1, 0.5, 0.9])
@pytest.mark.parametrize(("k", "n"), [(0, 1), (1, 1), (1, 7), (3, 10), (10, 10), (7, 60), (40, 60)])
def test_agrees_with_quadrature(k: int, n: int, p0: float) -> None:
    cut, end = math.asin(math.sqrt(p0)), math.pi / 2
    support, refute = _quadrature(k, n - k, p0, 0, cut), _quadrature(k, n - k, p0, cut, end)
    assert log_e_support(k, n - k, p0) == pytest.approx(support, abs=1e-8)
    assert log_e_refute(k, n - k, p0) == pytest.approx(refute, abs=1e-8)


@pytest.mark.parametrize("p0", [Fraction(1, 10), Fraction(1, 2), Fraction(19, 20)])
@pytest.mark.parametrize("n", [1, 2, 10, 40])
def test_the_mean_of_the_e_value_is_one_at_p0_and_less_within_the_hypothesis(
    n: int, p0: Fraction
) -> None:
    support = np.exp([log_e_support(k, n - k, float(p0)) for k in range(n + 1)])
    refute = np.exp([log_e_refute(k, n - k, float(p0)) for k in range(n + 1)])
    for e_values, inside in ((support, (1 + p0) / 2), (refute, p0 / 2)):
        at = scipy.stats.binom.pmf(range(n + 1), n, float(p0)) @ e_values
        within = scipy.stats.binom.pmf(range(n + 1), n, float(inside)) @ e_values
        assert at == pytest.approx(1, abs=1e-9)
        assert within < 1


@settings(deadline=None)
@given(counts(), rates)
def test_support_and_refutation_mirror_each_other(drawn: tuple[int, int], p0: float) -> None:
    k, n = drawn
    mirrored = log_e_refute(n - k, k, 1 - p0)
    assert log_e_support(k, n - k, p0) == pytest.approx(mirrored, rel=1e-9, abs=1e-6)


@settings(deadline=None)
@given(counts(), rates)
def test_one_more_success_speaks_against_support_and_for_refutation(
    drawn: tuple[int, int], p0: float
) -> None:
    k, n = drawn
    assert log_e_support(k + 1, n - k, p0) <= log_e_support(k, n - k + 1, p0) + 1e-9
    assert log_e_refute(k + 1, n - k, p0) >= log_e_refute(k, n - k + 1, p0) - 1e-9


@settings(deadline=None)
@given(counts(), rates, rates)
def test_a_larger_limit_is_easier_to_support_and_harder_to_refute(
    drawn: tuple[int, int], one: float, other: float
) -> None:
    k, n = drawn
    small, large = sorted((one, other))
    assert log_e_support(k, n - k, small) <= log_e_support(k, n - k, large) + 1e-8
    assert log_e_refute(k, n - k, small) >= log_e_refute(k, n - k, large) - 1e-8


def test_no_trials_are_worth_nothing() -> None:
    assert log_e_support(0, 0, 0.1) == pytest.approx(0, abs=1e-12)
    assert log_e_refute(0, 0, 0.1) == pytest.approx(0, abs=1e-12)
    assert (sequence_lower(0, 0, ALPHA), sequence_upper(0, 0, ALPHA)) == (0, 1)


def test_impossible_and_certain_limits() -> None:
    assert [log_e_support(k, 5 - k, 0.0) for k in (0, 3, 5)] == [0, 0, 0]
    assert [log_e_support(k, 5 - k, 1.0) for k in (0, 4, 5)] == [math.inf] * 3
    assert [log_e_refute(k, 5 - k, 0.0) for k in (0, 1, 5)] == [0, math.inf, math.inf]
    assert [log_e_refute(k, 5 - k, 1.0) for k in (0, 3, 5)] == [0, 0, 0]


@pytest.mark.parametrize("p0", [1e-12, 1e-6, 0.001, 0.5, 0.999, 1 - 1e-6])
@pytest.mark.parametrize("k", [0, 1, 1000, 500_000, 999_999, 1_000_000])
def test_a_million_trials_and_extreme_limits_stay_finite_and_mirror(k: int, p0: float) -> None:
    n = 1_000_000
    support, refute = log_e_support(k, n - k, p0), log_e_refute(k, n - k, p0)
    assert math.isfinite(support)
    assert math.isfinite(refute)
    if p0 >= 0.001:  # below, 1 - p0 loses digits
        assert support == pytest.approx(log_e_refute(n - k, k, 1 - p0), rel=1e-9, abs=1e-5)
    assert support < 0 or refute < 0


def test_a_tail_that_underflows_keeps_its_digits() -> None:
    # By the first terms of an expansion at p0: the mean of L(u t) / L(t) is about 1 / |d ln L|.
    k, n, p0 = 500_000, 1_000_000, 0.001
    slope = math.asin(math.sqrt(p0)) * 2 * (k - n * p0) / math.sqrt(p0 * (1 - p0))
    assert log_e_support(k, n - k, p0) == pytest.approx(-math.log(slope), abs=1e-3)


@settings(deadline=None, max_examples=50)
@given(counts(least=1), alphas)
def test_ends_of_the_sequence_are_where_the_e_value_is_one_over_alpha(
    drawn: tuple[int, int], alpha: float
) -> None:
    k, n = drawn
    low, high = sequence_lower(k, n, alpha), sequence_upper(k, n, alpha)
    threshold = -math.log(alpha)
    if k > 0:
        assert log_e_refute(k, n - k, low) >= threshold - 1e-7
        assert log_e_refute(k, n - k, low * (1 + 1e-9)) < threshold + 1e-7
    if k < n:
        assert log_e_support(k, n - k, high) >= threshold - 1e-7
        assert log_e_support(k, n - k, 1 - (1 - high) * (1 + 1e-9)) < threshold + 1e-7


@settings(deadline=None, max_examples=50)
@given(counts(most=1000), alphas)
def test_ends_move_with_successes_and_are_wider_than_those_of_a_fixed_number(
    drawn: tuple[int, int], alpha: float
) -> None:
    k, n = drawn
    low, high = sequence_lower(k, n, alpha), sequence_upper(k, n, alpha)
    assert 0 <= low <= lower_bound(k, n, alpha)
    assert upper_bound(k, n, alpha) <= high <= 1
    assert low <= sequence_lower(k + 1, n + 1, alpha) + 1e-12
    assert high <= sequence_upper(k + 1, n + 1, alpha) + 1e-12
    assert sequence_lower(k, n + 1, alpha) <= low + 1e-12
    assert sequence_upper(k, n + 1, alpha) <= high + 1e-12
    if k < n:
        assert low <= sequence_lower(k + 1, n, alpha) + 1e-12
        assert high <= sequence_upper(k + 1, n, alpha) + 1e-12
    assert high == 1 - sequence_lower(n - k, n, alpha)


@pytest.mark.parametrize(("n", "supported"), [(35, False), (36, True)])
def test_golden_number_of_clean_trials_that_support(n: int, supported: bool) -> None:
    # Source: exact stop at true rate 0, p0 = .10.
    assert (sequence_upper(0, n, ALPHA) <= 0.1) == supported


def _boundaries(p0: float, alpha: float, most: int) -> Boundary:
    """At each n, the successes up to which p0 is supported and those from which it is refuted."""
    support, refute, found = -1, 0, []
    for n in range(1, most + 1):
        while support < n and log_e_support(support + 1, n - support - 1, p0) >= -math.log(alpha):
            support += 1
        while refute <= n and log_e_refute(refute, n - refute, p0) < -math.log(alpha):
            refute += 1
        found.append((support, refute))
    return found


def _chances(boundary: Boundary, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Chance to stop at each n, in support and in refutation, if one looks after every trial."""
    state = np.zeros(len(boundary) + 2)
    state[0] = 1.0
    supported, refuted = np.zeros(len(boundary)), np.zeros(len(boundary))
    for index, (support, refute) in enumerate(boundary):
        state[1:] = state[1:] * (1 - rate) + state[:-1] * rate
        state[0] *= 1 - rate
        supported[index], refuted[index] = state[: support + 1].sum(), state[refute:].sum()
        state[: support + 1] = state[refute:] = 0.0
    return supported, refuted


@pytest.mark.parametrize("p0", [0.01, 0.05, 0.1, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("alpha", [0.05, 0.0025])
def test_looking_always_errs_with_chance_at_most_alpha(p0: float, alpha: float) -> None:
    boundary = _boundaries(p0, alpha, 1000)
    only_support = [(support, len(boundary) + 2) for support, _ in boundary]
    only_refute = [(-1, refute) for _, refute in boundary]
    for rate in (p0, p0 + 0.1 * (1 - p0)):
        assert _chances(only_support, rate)[0].sum() <= alpha
    for rate in (p0, 0.9 * p0):
        assert _chances(only_refute, rate)[1].sum() <= alpha


def test_golden_chances_of_an_error_within_six_hundred_trials() -> None:
    # Source: exact dynamic programme at p0 = .10, each side by itself.
    boundary = _boundaries(0.1, ALPHA, 600)
    supported = _chances([(support, 602) for support, _ in boundary], 0.1)[0].sum()
    refuted = _chances([(-1, refute) for _, refute in boundary], 0.1)[1].sum()
    assert (supported, refuted) == pytest.approx((0.041, 0.024), abs=5.1e-4)


@pytest.mark.parametrize(
    ("rate", "supported", "refuted", "mean"),
    [
        (0.0, 1.0, 0.0, 36),
        (0.02, 1.0, 0.0, 64),
        (0.03, 1.0, 0.0, 92),
        (0.05, 0.99, 0.01, 234),
        (0.07, 0.71, 0.01, 610),
        (0.15, 0.0, 0.94, 431),
        (0.2, 0.0, 1.0, 111),
        (0.3, 0.0, 1.0, 28),
        (0.5, 0.0, 1.0, 8),
    ],
)
def test_golden_behaviour_up_to_a_thousand_trials(
    rate: float, supported: float, refuted: float, mean: int
) -> None:
    # Source: simulated at p0 = .10 with a cap of 1000, so what is exact here is only near.
    yes, no = _chances(_boundaries(0.1, ALPHA, 1000), rate)
    assert (yes.sum(), no.sum()) == pytest.approx((supported, refuted), abs=0.02)
    expected = (yes + no) @ np.arange(1, 1001) + 1000 * (1 - yes.sum() - no.sum())
    assert expected == pytest.approx(mean, rel=0.1, abs=1)


@pytest.mark.parametrize("function", [log_e_support, log_e_refute])
def test_impossible_counts_are_refused(function: EProcess) -> None:
    for yes, no in ((-1, 5), (5, -1)):
        with pytest.raises(ValueError, match="successes must lie between"):
            function(yes, no, 0.1)


@pytest.mark.parametrize("bound", [sequence_lower, sequence_upper])
@pytest.mark.parametrize(
    ("k", "n", "alpha"), [(-1, 10, 0.05), (11, 10, 0.05), (3, 10, 0.0), (3, 10, math.nan)]
)
def test_impossible_counts_and_levels_are_refused(
    bound: Callable[[int, int, float], float], k: int, n: int, alpha: float
) -> None:
    with pytest.raises(ValueError, match="must lie between"):
        bound(k, n, alpha)
