"""Betting bounds on a mean: another implementation, coverage exactly and by simulation."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from threatspec.statistics import (
    betting_lower,
    betting_upper,
    lower_bound,
    sequence_upper,
    upper_bound,
)

ALPHA = 0.05
ROUNDING = 1e-9
Draw = Callable[[np.random.Generator], np.ndarray]

scores_of_units = st.lists(st.floats(0, 1), max_size=60)


def _log_capital(scores: Sequence[float], m: float) -> float:
    """The highest of the log of the mean of eight bettors, on logarithms and with numpy."""
    stakes = np.sin((np.arange(8) + 0.5) * np.pi / 16)[:, None] ** 2
    paths = np.log1p(stakes * (np.asarray(scores) / m - 1)).cumsum(axis=1)
    return float((np.logaddexp.reduce(paths, axis=0) - math.log(8)).max())


@settings(deadline=None)
@given(scores_of_units.filter(any), st.floats(1e-4, 0.5))
def test_the_bound_is_the_last_mean_at_which_the_capital_reaches_one_over_alpha(
    scores: list[float], alpha: float
) -> None:
    bound, goal = betting_lower(scores, alpha), -math.log(alpha)
    if bound > 0:
        assert _log_capital(scores, bound) >= goal - 1e-9
    assert _log_capital(scores, bound + 1.1 * ROUNDING) < goal + 1e-9


@given(scores_of_units)
def test_bounds_hold_the_mean_and_mirror_each_other(scores: list[float]) -> None:
    low, high = betting_lower(scores, ALPHA), betting_upper(scores, ALPHA)
    assert 0 <= low < high <= 1
    if scores:
        assert low <= max(scores)
        assert high >= min(scores)
    mirrored = 1 - betting_upper([1 - score for score in scores], ALPHA)
    assert low == pytest.approx(mirrored, abs=2 * ROUNDING)


@given(scores_of_units.filter(bool), st.data())
def test_a_higher_score_never_lowers_a_bound(scores: list[float], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(scores) - 1))
    higher = data.draw(st.floats(scores[index], 1))
    raised = [higher if i == index else score for i, score in enumerate(scores)]
    assert betting_lower(raised, ALPHA) >= betting_lower(scores, ALPHA)
    assert betting_upper(raised, ALPHA) >= betting_upper(scores, ALPHA)


@given(scores_of_units, scores_of_units)
def test_more_scores_never_widen_the_bounds(first: list[float], more: list[float]) -> None:
    assert betting_lower(first + more, ALPHA) >= betting_lower(first, ALPHA)
    assert betting_upper(first + more, ALPHA) <= betting_upper(first, ALPHA)


@given(scores_of_units, st.floats(1e-4, 0.5), st.floats(1e-4, 0.5))
def test_more_confidence_gives_wider_bounds(scores: list[float], one: float, other: float) -> None:
    strict, lax = sorted((one, other))
    assert betting_lower(scores, strict) <= betting_lower(scores, lax)
    assert betting_upper(scores, strict) >= betting_upper(scores, lax)


@pytest.mark.parametrize("alpha", [0.3, 0.1])
@pytest.mark.parametrize("mean", [0.02, 0.1, 0.3, 0.5, 0.8])
def test_bounds_miss_the_mean_of_all_binary_sequences_with_chance_at_most_alpha(
    mean: float, alpha: float
) -> None:
    too_high = too_low = 0.0
    for scores in itertools.product((0.0, 1.0), repeat=8):
        chance = math.prod(mean if score else 1 - mean for score in scores)
        too_high += chance * (betting_lower(scores, alpha) > mean)
        too_low += chance * (betting_upper(scores, alpha) < mean)
    assert too_high <= alpha
    assert too_low <= alpha


def _shares(rng: np.random.Generator) -> np.ndarray:
    """Five replicates on prompts that differ: the share of each prompt's that is yes; mean .1."""
    return rng.binomial(5, rng.beta(0.2, 1.8, 50)) / 5


@pytest.mark.parametrize(
    ("draw", "mean"),
    [
        (lambda rng: rng.binomial(1, 0.1, 50).astype(float), 0.1),
        (_shares, 0.1),
        (lambda rng: rng.uniform(0, 1, 50), 0.5),
        (lambda rng: np.where(rng.random(50) < 0.01, 1.0, 0.0), 0.01),
    ],
    ids=["binary", "shares", "uniform", "rare"],
)
def test_bounds_miss_the_mean_of_simulated_scores_with_chance_at_most_alpha(
    draw: Draw, mean: float
) -> None:
    rng, repetitions = np.random.default_rng(20_251), 300
    samples = [draw(rng).tolist() for _ in range(repetitions)]
    for missed in (
        sum(betting_lower(scores, ALPHA) > mean for scores in samples),
        sum(betting_upper(scores, ALPHA) < mean for scores in samples),
    ):
        assert lower_bound(missed, repetitions, 0.001) <= ALPHA


@pytest.mark.parametrize("n", [30, 100, 320])
def test_units_without_success_bound_the_mean_nearly_as_well_as_counts(n: int) -> None:
    bound = betting_upper([0.0] * n, ALPHA)
    assert upper_bound(0, n, ALPHA) < bound < 1.2 * sequence_upper(0, n, ALPHA)


def test_shares_of_replicates_bound_their_mean_better_than_whether_any_is_yes() -> None:
    scores = ([0.2] + [0.0] * 4) * 20  # one of five replicates, on every fifth prompt
    assert betting_upper(scores, ALPHA) < 0.1 < sequence_upper(20, 100, ALPHA)


def test_golden_bounds() -> None:
    # Source: this implementation, so that a change of the bets does not pass unseen.
    scores = [0.0, 0.2, 0.0, 0.0, 0.4, 0.0, 0.0, 0.2, 0.0, 0.0] * 10
    found = betting_lower(scores, ALPHA), betting_upper(scores, ALPHA)
    assert found == pytest.approx((0.04483, 0.12730), abs=5.1e-6)


def test_no_scores_say_nothing() -> None:
    assert (betting_lower([], ALPHA), betting_upper([], ALPHA)) == (0, 1)
    assert betting_lower([0.0] * 50, ALPHA) == 0
    assert betting_upper([1.0] * 50, ALPHA) == 1


@pytest.mark.parametrize("bound", [betting_lower, betting_upper])
@pytest.mark.parametrize("score", [-0.1, 1.1, math.nan, math.inf])
def test_impossible_scores_are_refused(
    bound: Callable[[Sequence[float], float], float], score: float
) -> None:
    with pytest.raises(ValueError, match="scores must lie between 0 and 1"):
        bound([0.5, score], ALPHA)


@pytest.mark.parametrize("bound", [betting_lower, betting_upper])
@pytest.mark.parametrize("alpha", [0.0, 1.0, math.nan])
def test_impossible_levels_are_refused(
    bound: Callable[[Sequence[float], float], float], alpha: float
) -> None:
    with pytest.raises(ValueError, match="alpha must lie between 0 and 1"):
        bound([0.5], alpha)
