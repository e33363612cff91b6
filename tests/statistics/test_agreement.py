"""Agreement of two judges: published and independent values of kappa, recalls as counts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from statsmodels.stats.inter_rater import cohens_kappa

from threatspec.statistics import Agreement, lower_bound

counts = st.tuples(*[st.integers(0, 500)] * 4)


@pytest.mark.parametrize(
    ("table", "kappa"),
    [
        ((20, 5, 10, 15), 0.4),  # by hand: observed .7, chance .5
        ((45, 15, 25, 15), 0.13043478),  # by hand: observed .6, chance .54
        ((25, 35, 5, 35), 0.25925926),  # by hand: observed .6, chance .46
        ((10, 0, 0, 10), 1.0),
        ((0, 10, 10, 0), -1.0),
        ((25, 25, 25, 25), 0.0),
    ],
)
def test_golden_values_of_kappa(table: tuple[int, int, int, int], kappa: float) -> None:
    assert Agreement(*table).kappa == pytest.approx(kappa, abs=5.1e-9)


@settings(deadline=None)
@given(counts)
def test_kappa_agrees_with_statsmodels(table: tuple[int, int, int, int]) -> None:
    a, b, c, d = table
    assume(a + b + c and d + b + c)  # elsewhere statsmodels divides by zero
    expected = cohens_kappa(np.array([[a, b], [c, d]]), return_results=False)
    assert Agreement(*table).kappa == pytest.approx(expected, abs=1e-9)


@given(counts)
def test_kappa_is_the_same_from_either_side_and_for_either_label(
    table: tuple[int, int, int, int],
) -> None:
    a, b, c, d = table
    assume(any(table))
    kappa = Agreement(a, b, c, d).kappa
    assert -1 <= kappa <= 1
    assert kappa == Agreement(a, c, b, d).kappa == Agreement(d, c, b, a).kappa


@pytest.mark.parametrize("table", [(50, 0, 0, 0), (0, 0, 0, 50)])
def test_a_judge_that_always_says_the_same_agrees_no_better_than_chance(
    table: tuple[int, int, int, int],
) -> None:
    agreement = Agreement(*table)
    assert agreement.observed == 1
    assert agreement.kappa == 0


def test_recalls_are_of_the_second_against_the_first() -> None:
    agreement = Agreement(both_yes=95, first_only=5, second_only=4, both_no=96)
    assert agreement.items == 200
    assert agreement.observed == 0.955
    assert agreement.recall_yes == (95, 100)
    assert agreement.recall_no == (96, 100)
    assert lower_bound(*agreement.recall_yes, 0.05) == pytest.approx(0.8977, abs=5e-5)


def test_recall_of_a_label_the_truth_never_gives_is_a_count_of_nothing() -> None:
    agreement = Agreement(0, 0, 3, 7)
    assert agreement.recall_yes == (0, 0)
    assert lower_bound(*agreement.recall_yes, 0.05) == 0


@pytest.mark.parametrize("table", [(0, 0, 0, 0), (-1, 5, 5, 5), (5, 5, 5, -1)])
def test_impossible_counts_are_refused(table: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="counts must be at least 0"):
        Agreement(*table)
