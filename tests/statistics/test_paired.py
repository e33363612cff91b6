"""Paired conditions: golden values, other implementations, and exact coverage by enumeration."""

from __future__ import annotations

import math

import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.contingency_tables import mcnemar

from threatspec.statistics import (
    Pairs,
    mcnemar_greater_p,
    mcnemar_p,
    newcombe,
    non_inferior_lower,
    wilson,
)

tables = st.builds(Pairs, *[st.integers(0, 200)] * 4)


def _swapped(pairs: Pairs) -> Pairs:
    return Pairs(pairs.both, pairs.second_only, pairs.first_only, pairs.neither)


def test_golden_p_value_of_mcnemar() -> None:
    # Source: exact test of [[80, 12], [3, 5]], statsmodels 0.15.
    pairs = Pairs(both=80, first_only=12, second_only=3, neither=5)
    assert mcnemar_p(pairs) == pytest.approx(0.03515625, rel=1e-12)
    assert mcnemar_greater_p(pairs) == pytest.approx(0.017578125, rel=1e-12)
    assert mcnemar_greater_p(_swapped(pairs)) == pytest.approx(0.996307373046875, rel=1e-12)


@settings(deadline=None)
@given(tables)
def test_mcnemar_agrees_with_statsmodels_and_scipy(pairs: Pairs) -> None:
    table = [[pairs.both, pairs.first_only], [pairs.second_only, pairs.neither]]
    if pairs.discordant:
        expected = mcnemar(table, exact=True).pvalue
        assert mcnemar_p(pairs) == pytest.approx(float(expected), rel=1e-9)
        one_sided = scipy.stats.binomtest(
            pairs.first_only, pairs.discordant, alternative="greater"
        ).pvalue
        assert mcnemar_greater_p(pairs) == pytest.approx(float(one_sided), rel=1e-9)


@given(tables)
def test_units_alike_under_both_do_not_matter_and_one_more_for_the_first_does(
    pairs: Pairs,
) -> None:
    more = Pairs(pairs.both + 7, pairs.first_only, pairs.second_only, pairs.neither + 9)
    assert mcnemar_greater_p(more) == mcnemar_greater_p(pairs)
    assert mcnemar_p(_swapped(pairs)) == mcnemar_p(pairs)
    gained = Pairs(pairs.both, pairs.first_only + 1, pairs.second_only, pairs.neither)
    assert mcnemar_greater_p(gained) <= mcnemar_greater_p(pairs) * (1 + 1e-9)


def test_no_pair_that_differs_shows_nothing() -> None:
    assert mcnemar_p(Pairs(50, 0, 0, 50)) == 1
    assert mcnemar_greater_p(Pairs(50, 0, 0, 50)) == 1


@pytest.mark.parametrize(
    ("table", "low", "high"),
    [
        # Source: Newcombe 1998, examples of method 10, 95 % two-sided.
        ((36, 12, 2, 0), 0.0569, 0.3404),
        ((80, 12, 3, 5), 0.0126, 0.1723),
        ((53, 0, 1, 0), -0.0977, 0.0496),
        ((5, 60, 2, 33), 0.4615, 0.6734),
    ],
)
def test_golden_intervals_of_newcombe(
    table: tuple[int, int, int, int], low: float, high: float
) -> None:
    shown = newcombe(Pairs(*table), 0.025)
    assert (shown.lower, shown.upper) == pytest.approx((low, high), abs=5.1e-5)


@given(tables, st.floats(1e-4, 0.4))
def test_newcombe_holds_the_difference_and_mirrors(pairs: Pairs, alpha: float) -> None:
    shown, mirrored = newcombe(pairs, alpha), newcombe(_swapped(pairs), alpha)
    assert -1 <= shown.lower < shown.upper <= 1
    assert shown.lower == pytest.approx(-mirrored.upper, abs=1e-12)
    if pairs.units:
        difference = (pairs.first_only - pairs.second_only) / pairs.units
        assert shown.lower - 1e-12 <= difference <= shown.upper + 1e-12


def test_newcombe_without_correlation_is_that_of_independent_shares() -> None:
    one, two = wilson(20, 40, 0.025), wilson(10, 40, 0.025)
    below = math.hypot(0.5 - one.lower, two.upper - 0.25)
    assert newcombe(Pairs(5, 15, 5, 15), 0.025).lower == pytest.approx(0.25 - below)


def test_no_pairs_say_nothing() -> None:
    nothing = Pairs(0, 0, 0, 0)
    assert (newcombe(nothing, 0.05).lower, newcombe(nothing, 0.05).upper) == (-1, 1)
    assert non_inferior_lower(nothing, 0.05) == -1


@pytest.mark.parametrize("alpha", [0.2, 0.05])
@pytest.mark.parametrize(
    ("gained", "lost"), [(0.0, 0.05), (0.05, 0.05), (0.02, 0.1), (0.3, 0.3), (0.1, 0.0), (0.0, 0.0)]
)
def test_the_lower_bound_exceeds_the_difference_with_chance_at_most_alpha(
    gained: float, lost: float, alpha: float
) -> None:
    n, missed = 40, 0.0
    for b in range(n + 1):
        for c in range(n - b + 1):
            if non_inferior_lower(Pairs(0, b, c, n - b - c), alpha) > gained - lost:
                shares = [gained, lost, 1 - gained - lost]
                missed += scipy.stats.multinomial.pmf([b, c, n - b - c], n, shares)
    assert missed <= alpha


@given(tables, st.floats(1e-4, 0.4))
def test_the_lower_bound_is_below_the_difference_and_moves_with_it(
    pairs: Pairs, alpha: float
) -> None:
    bound = non_inferior_lower(pairs, alpha)
    assert -1 <= bound <= 1
    if pairs.units:
        assert bound < (pairs.first_only - pairs.second_only) / pairs.units
    if pairs.second_only:
        kept = Pairs(pairs.both + 1, pairs.first_only, pairs.second_only - 1, pairs.neither)
        assert non_inferior_lower(kept, alpha) >= bound


def test_a_copy_of_the_model_is_not_inferior_by_five_points_with_enough_units() -> None:
    assert non_inferior_lower(Pairs(80, 0, 0, 20), 0.05) == pytest.approx(-0.0362, abs=5.1e-5)
    assert non_inferior_lower(Pairs(16, 0, 0, 4), 0.05) < -0.05


@pytest.mark.parametrize("table", [(-1, 0, 0, 0), (0, 0, -2, 5)])
def test_impossible_counts_are_refused(table: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="counts of pairs must be at least 0"):
        Pairs(*table)
