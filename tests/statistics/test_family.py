"""Holm against statsmodels, closed testing and by enumeration; spent levels; mean e-values."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Sequence

import pytest
import scipy.special
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from threatspec.statistics import (
    average_e,
    holm,
    log_e_refute,
    p_exceeds,
    refutation_number,
    spent_alpha,
)

ALPHA = 0.05

families = st.lists(st.floats(0, 1), max_size=12)


def _closed_testing(p_values: Sequence[float]) -> list[float]:
    """Reject a hypothesis if every family that holds it rejects by Bonferroni."""
    members = range(len(p_values))
    subsets = [s for size in members for s in itertools.combinations(members, size + 1)]
    by_subset = {s: min(1.0, len(s) * min(p_values[i] for i in s)) for s in subsets}
    return [max(p for s, p in by_subset.items() if i in s) for i in members]


def test_worked_example() -> None:
    # By hand: 4 x .005, 3 x .01, 2 x .03, then 1 x .04 raised to its predecessor.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))


def test_no_hypothesis_and_one() -> None:
    assert holm([]) == ()
    assert holm([0.04]) == (0.04,)


@settings(deadline=None, max_examples=10)  # the other side takes 50 ms
@given(families.filter(bool))
def test_agrees_with_statsmodels(p_values: list[float]) -> None:
    expected = multipletests(p_values, method="holm")[1]
    assert holm(p_values) == pytest.approx(tuple(expected), rel=1e-9)


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_agrees_with_closed_testing(p_values: list[float]) -> None:
    assert holm(p_values) == pytest.approx(tuple(_closed_testing(p_values)), rel=1e-9)


@given(families)
def test_adjusted_is_between_raw_and_bonferroni(p_values: list[float]) -> None:
    for raw, adjusted in zip(p_values, holm(p_values), strict=True):
        assert raw <= adjusted <= min(1.0, len(p_values) * raw)


@given(families)
def test_keeps_the_order_of_the_p_values(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    for i, j in itertools.permutations(range(len(p_values)), 2):
        if p_values[i] <= p_values[j]:
            assert adjusted[i] <= adjusted[j]


@given(families.flatmap(lambda p: st.tuples(st.just(p), st.permutations(range(len(p))))))
def test_does_not_depend_on_the_order_given(drawn: tuple[list[float], list[int]]) -> None:
    p_values, order = drawn
    adjusted = holm(p_values)
    assert holm([p_values[i] for i in order]) == tuple(adjusted[i] for i in order)


@given(families, st.integers(0, 11), st.floats(0, 1))
def test_grows_with_each_p_value(p_values: list[float], index: int, share: float) -> None:
    if index < len(p_values):
        smaller = [p * share if i == index else p for i, p in enumerate(p_values)]
        for less, more in zip(holm(smaller), holm(p_values), strict=True):
            assert less <= more


@given(families, st.integers(1, 5))
def test_hypotheses_nobody_tested_never_help_the_others(p_values: list[float], more: int) -> None:
    padded = holm([*p_values, *[1.0] * more])
    for alone, among in zip(holm(p_values), padded, strict=False):
        assert alone <= among
    assert padded[len(p_values) :] == (1.0,) * more


@given(families, st.floats(0, 1))
def test_one_more_hypothesis_never_helps_the_others(p_values: list[float], new: float) -> None:
    for alone, among in zip(holm(p_values), holm([*p_values, new]), strict=False):
        assert alone <= among


def _false_refutation(p_values: Sequence[float], true_nulls: int) -> bool:
    return min(holm(p_values)[:true_nulls]) <= ALPHA


@pytest.mark.parametrize(
    ("n", "rates"),
    [
        (60, (0.1, 0.1)),
        (20, (0.1, 0.1, 0.1)),
        (20, (0.05, 0.1, 0.1)),
        (20, (0.1, 0.1, 0.6)),
        (20, (0.1, 0.6, 0.6)),
    ],
)
def test_independent_cells_refute_falsely_with_chance_at_most_alpha(
    n: int, rates: tuple[float, ...]
) -> None:
    # The claim "at most 10 %" is true of the cells up to 10 %, which stand first.
    p_values = [p_exceeds(k, n, 0.1) for k in range(n + 1)]
    pmfs = [scipy.stats.binom.pmf(range(n + 1), n, rate).tolist() for rate in rates]
    true_nulls = sum(rate <= 0.1 for rate in rates)
    chance = math.fsum(
        math.prod(pmf[k] for pmf, k in zip(pmfs, outcome, strict=True))
        for outcome in itertools.product(range(n + 1), repeat=len(rates))
        if _false_refutation([p_values[k] for k in outcome], true_nulls)
    )
    assert 0 < chance <= ALPHA


@pytest.mark.parametrize("cells", [2, 5, 20])
@pytest.mark.parametrize("n", [20, 100, 200])
def test_cells_of_the_same_answers_refute_falsely_with_chance_at_most_alpha(
    n: int, cells: int
) -> None:
    pmf = scipy.stats.binom.pmf(range(n + 1), n, 0.1)
    chance = math.fsum(
        pmf[k] for k in range(n + 1) if _false_refutation([p_exceeds(k, n, 0.1)] * cells, cells)
    )
    assert chance <= ALPHA


@pytest.mark.parametrize("n", [20, 100, 200])
def test_cells_that_never_err_together_refute_falsely_with_chance_at_most_alpha(n: int) -> None:
    # One uniform number decides both cells in opposite directions: the worst case of Bonferroni.
    cdf = scipy.stats.binom.cdf(range(n + 1), n, 0.1).tolist()
    cuts = sorted({0.0, 1.0, *cdf[:-1], *(1 - c for c in cdf[:-1])})
    chance = 0.0
    for left, right in itertools.pairwise(cuts):
        middle = (left + right) / 2
        ks = [bisect.bisect_left(cdf, u) for u in (middle, 1 - middle)]
        if _false_refutation([p_exceeds(k, n, 0.1) for k in ks], 2):
            chance += right - left
    assert 0 < chance <= ALPHA


@pytest.mark.parametrize(
    ("cells", "uncorrected", "corrected"),
    [(1, 0.04, 0.04), (5, 0.18, 0.02), (10, 0.34, 0.05), (20, 0.56, 0.04), (50, 0.87, 0.04)],
)
def test_golden_chance_that_the_best_of_several_true_cells_refutes(
    cells: int, uncorrected: float, corrected: float
) -> None:
    # Source: every cell at exactly 10 %, 100 units, computed to two decimals with scipy 1.17.
    for alpha, chance in ((ALPHA, uncorrected), (ALPHA / cells, corrected)):
        k = refutation_number(100, 0.1, alpha)
        assert k is not None
        assert 1 - (1 - p_exceeds(k, 100, 0.1)) ** cells == pytest.approx(chance, abs=0.01)


def test_spent_levels_add_up_to_alpha() -> None:
    levels = [spent_alpha(order, ALPHA) for order in range(1, 100_001)]
    assert levels[0] == pytest.approx(0.0303964, abs=1e-7)
    assert levels == sorted(levels, reverse=True)
    assert 0.9999 * ALPHA < math.fsum(levels) < ALPHA


@pytest.mark.parametrize("order", [0, -1])
def test_orders_of_registration_count_from_one(order: int) -> None:
    with pytest.raises(ValueError, match="count from 1"):
        spent_alpha(order, ALPHA)


@given(st.lists(st.floats(-300, 300), min_size=1, max_size=20))
def test_average_of_e_values_agrees_with_scipy(log_e_values: list[float]) -> None:
    expected = scipy.special.logsumexp(log_e_values) - math.log(len(log_e_values))
    assert average_e(log_e_values) == pytest.approx(float(expected), abs=1e-9)


def test_average_of_extreme_e_values() -> None:
    assert average_e([]) == 0
    assert average_e([1000.0, 1000.0]) == 1000
    assert average_e([-math.inf, 0.0]) == pytest.approx(-math.log(2))
    assert average_e([-math.inf, -math.inf]) == -math.inf
    assert average_e([math.inf, -5.0, 3.0]) == math.inf


@pytest.mark.parametrize("cells", [2, 20])
def test_average_of_true_cells_of_the_same_answers_refutes_with_chance_at_most_alpha(
    cells: int,
) -> None:
    pmf = scipy.stats.binom.pmf(range(101), 100, 0.1)
    log_e = [average_e([log_e_refute(k, 100 - k, 0.1)] * cells) for k in range(101)]
    assert math.fsum(pmf[k] for k in range(101) if log_e[k] >= -math.log(ALPHA)) <= ALPHA
