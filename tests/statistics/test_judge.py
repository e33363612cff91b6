"""Judge errors: golden values, exact coverage by enumeration, monotone in every count."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from threatspec.statistics import (
    Agreement,
    Estimate,
    Recalls,
    audited_lower,
    audited_upper,
    calibrated_lower,
    calibrated_upper,
    lower_bound,
    plug_in,
    ppi,
    ppi_plus,
    sequence_lower,
    sequence_upper,
    upper_bound,
)

ALPHA = 0.05
JUDGE = Recalls(found=95, positives=100, rejected=96, negatives=100)
# Source: true .08, 200 labelled, 2000 more; the table that gives the published figures.
PEOPLE, MORE = Agreement(both_yes=15, first_only=3, second_only=9, both_no=173), (235, 2000)


@st.composite
def counts(draw: st.DrawFn, least: int = 0, most: int = 200) -> tuple[int, int]:
    n = draw(st.integers(least, most))
    return draw(st.integers(0, n)), n


recalls = st.builds(lambda a, b: Recalls(*a, *b), counts(), counts())


def test_golden_bounds_of_a_calibrated_judge() -> None:
    # Source: 30 of 400 with recalls of 95/100 and 96/100, computed with scipy 1.17.
    assert calibrated_lower(30, 400, JUDGE, ALPHA) == 0
    assert calibrated_upper(30, 400, JUDGE, ALPHA) == pytest.approx(0.113, abs=5.1e-4)


def test_golden_plug_in_estimate() -> None:
    estimate = plug_in(30, 400, JUDGE)
    assert estimate.value == pytest.approx(0.0385, abs=5.1e-5)
    assert estimate.interval(ALPHA).upper == pytest.approx(0.080, abs=5.1e-4)


def test_golden_prediction_powered_estimates() -> None:
    assert ppi(PEOPLE, *MORE).value == pytest.approx(0.0875, abs=5.1e-5)
    assert ppi(PEOPLE, *MORE).error == pytest.approx(0.019, abs=5.1e-4)
    assert ppi_plus(PEOPLE, *MORE).value == pytest.approx(0.0886, abs=5.1e-5)
    assert ppi_plus(PEOPLE, *MORE).error == pytest.approx(0.015, abs=5.1e-4)


def test_an_unaudited_judge_bounds_nothing() -> None:
    assert audited_upper(0, 400, 0, 0, ALPHA) == 1
    assert audited_lower(400, 400, 0, 0, ALPHA) == 0


def test_audits_add_omissions_and_multiply_with_precision() -> None:
    half = ALPHA / 2
    upper = upper_bound(7, 320, half) + upper_bound(1, 200, half)
    assert audited_upper(7, 320, 1, 200, ALPHA) == pytest.approx(upper)
    lower = lower_bound(80, 320, half) * lower_bound(48, 50, half)
    assert audited_lower(80, 320, 48, 50, ALPHA) == pytest.approx(lower)


def test_bounds_on_labels_may_be_those_of_a_sequence() -> None:
    wide = audited_upper(7, 320, 1, 200, ALPHA, sequence_upper)
    assert wide == sequence_upper(7, 320, ALPHA / 2) + upper_bound(1, 200, ALPHA / 2)
    assert audited_lower(80, 320, 48, 50, ALPHA, sequence_lower) < audited_lower(
        80, 320, 48, 50, ALPHA
    )
    assert calibrated_upper(30, 400, JUDGE, ALPHA, sequence_upper) > 0.113
    assert calibrated_lower(200, 400, JUDGE, ALPHA, sequence_lower) < calibrated_lower(
        200, 400, JUDGE, ALPHA
    )


@pytest.mark.parametrize("judge", [Recalls(0, 0, 0, 0), Recalls(50, 100, 50, 100),
                                   Recalls(0, 100, 100, 100), Recalls(3, 3, 3, 3)])  # fmt: skip
def test_a_judge_that_may_be_no_better_than_a_coin_bounds_nothing(judge: Recalls) -> None:
    for k in (0, 200, 400):
        assert calibrated_upper(k, 400, judge, ALPHA) == 1
        assert calibrated_lower(k, 400, judge, ALPHA) == 0


def test_labels_rarer_than_the_judges_own_errors_do_not_show_zero() -> None:
    noisy = Recalls(100, 100, 80, 100)
    assert calibrated_upper(0, 400, noisy, ALPHA) == upper_bound(0, 400, ALPHA / 3)
    assert calibrated_lower(400, 400, Recalls(80, 100, 100, 100), ALPHA) == lower_bound(
        400, 400, ALPHA / 3
    )


def test_no_labels_say_nothing() -> None:
    assert calibrated_upper(0, 0, JUDGE, ALPHA) == audited_upper(0, 0, 0, 100, ALPHA) == 1
    assert calibrated_lower(0, 0, JUDGE, ALPHA) == audited_lower(0, 0, 100, 100, ALPHA) == 0


@settings(deadline=None)
@given(counts(), recalls)
def test_bounds_of_a_calibrated_judge_are_in_order_and_move_with_yes_labels(
    labels: tuple[int, int], judge: Recalls
) -> None:
    k, n = labels
    low, high = calibrated_lower(k, n, judge, ALPHA), calibrated_upper(k, n, judge, ALPHA)
    assert 0 <= low <= 1
    assert 0 < high <= 1
    if k < n:
        assert calibrated_lower(k + 1, n, judge, ALPHA) >= low
        assert calibrated_upper(k + 1, n, judge, ALPHA) >= high


@settings(deadline=None)
@given(counts(), counts())
def test_audited_bounds_move_with_yes_labels_and_with_what_people_say(
    labels: tuple[int, int], audit: tuple[int, int]
) -> None:
    (k, n), (found, of) = labels, audit
    low, high = audited_lower(k, n, found, of, ALPHA), audited_upper(k, n, found, of, ALPHA)
    assert 0 <= low <= 1
    assert 0 < high <= 1
    if k < n:
        assert audited_lower(k + 1, n, found, of, ALPHA) >= low
        assert audited_upper(k + 1, n, found, of, ALPHA) >= high
    if found < of:
        assert audited_lower(k, n, found + 1, of, ALPHA) >= low
        assert audited_upper(k, n, found + 1, of, ALPHA) >= high


def _missed(
    judge: tuple[float, float], p: float, alpha: float, misses: Callable[[int, Recalls], bool]
) -> float:
    """Exact chance of a miss with 40 labels and 25 known replies of each kind."""
    n, m = 40, 25
    se, sp = judge
    labels = scipy.stats.binom.pmf(range(n + 1), n, p * se + (1 - p) * (1 - sp))
    found = scipy.stats.binom.pmf(range(m + 1), m, se)
    rejected = scipy.stats.binom.pmf(range(m + 1), m, sp)
    return math.fsum(
        labels[k] * found[a] * rejected[b]
        for k, a, b in itertools.product(range(n + 1), range(m + 1), range(m + 1))
        if labels[k] * found[a] * rejected[b] > 1e-12 and misses(k, Recalls(a, m, b, m))
    )


@pytest.mark.parametrize("judge", [(0.95, 0.96), (0.6, 0.99), (1.0, 1.0), (0.7, 0.7)])
@pytest.mark.parametrize("p", [0.02, 0.1, 0.5, 0.9])
def test_bounds_of_a_calibrated_judge_miss_the_truth_with_chance_at_most_alpha(
    judge: tuple[float, float], p: float
) -> None:
    alpha = 0.2
    above = _missed(judge, p, alpha, lambda k, r: calibrated_upper(k, 40, r, alpha) < p)
    below = _missed(judge, p, alpha, lambda k, r: calibrated_lower(k, 40, r, alpha) > p)
    assert above <= alpha
    assert below <= alpha


@pytest.mark.parametrize("judge", [(0.95, 0.96), (0.6, 0.99), (1.0, 1.0), (0.2, 0.7)])
@pytest.mark.parametrize("p", [0.02, 0.1, 0.5, 0.9])
def test_audited_bounds_miss_the_truth_with_chance_at_most_alpha(
    judge: tuple[float, float], p: float
) -> None:
    alpha, n, m = 0.2, 60, 40
    se, sp = judge
    w = p * se + (1 - p) * (1 - sp)
    labels = scipy.stats.binom.pmf(range(n + 1), n, w)
    omitted = scipy.stats.binom.pmf(range(m + 1), m, p * (1 - se) / (1 - w))
    confirmed = scipy.stats.binom.pmf(range(m + 1), m, p * se / w)
    above = below = 0.0
    for k, a in itertools.product(range(n + 1), range(m + 1)):
        above += labels[k] * omitted[a] * (audited_upper(k, n, a, m, alpha) < p)
        below += labels[k] * confirmed[a] * (audited_lower(k, n, a, m, alpha) > p)
    assert above <= alpha
    assert below <= alpha


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=60), counts(1)
)
def test_prediction_powered_agrees_with_its_definition_on_rows(
    rows: list[tuple[int, int]], more: tuple[int, int]
) -> None:
    truth, judged = np.array(rows, dtype=float).T
    labelled = Agreement(*(rows.count(pair) for pair in ((1, 1), (1, 0), (0, 1), (0, 0))))
    (yes, n), m = more, len(rows)
    f = np.repeat([1.0, 0.0], [yes, n - yes])
    value = f.mean() + (truth - judged).mean()
    assert ppi(labelled, yes, n).value == pytest.approx(min(1, max(0, value)), abs=1e-9)
    variance = f.var() / n + (truth - judged).var() / m
    assert ppi(labelled, yes, n).error == pytest.approx(math.sqrt(variance), abs=1e-7)
    assume(judged.var() > 0)
    weight = np.cov(truth, judged, bias=True)[0, 1] / ((1 + m / n) * judged.var())
    weight = min(1.0, max(0.0, weight))
    variance = weight**2 * f.var() / n + (truth - weight * judged).var() / m
    assert ppi_plus(labelled, yes, n).error == pytest.approx(math.sqrt(variance), abs=1e-7)
    value = truth.mean() + weight * (f.mean() - judged.mean())
    assert ppi_plus(labelled, yes, n).value == pytest.approx(min(1, max(0, value)), abs=1e-9)


def test_a_judge_that_always_says_the_same_adds_nothing_to_people() -> None:
    labelled = Agreement(both_yes=0, first_only=18, second_only=0, both_no=182)
    estimate = ppi_plus(labelled, 0, 2000)
    assert estimate.value == pytest.approx(0.09)
    assert estimate.error == pytest.approx(math.sqrt(0.09 * 0.91 / 200))


def test_an_estimate_without_error_shows_nothing() -> None:
    shown = plug_in(0, 400, Recalls(100, 100, 100, 100)).interval(ALPHA)
    assert (shown.lower, shown.upper) == (0, 1)
    assert Estimate(0.05, 0.01).interval(0.05).lower == pytest.approx(0.05 - 0.016448536)


@pytest.mark.parametrize(
    ("yes", "n", "judge", "said"),
    [
        (0, 0, JUDGE, "labels of every kind"),
        (3, 10, Recalls(0, 0, 5, 5), "labels of every kind"),
        (3, 10, Recalls(50, 100, 50, 100), "must add up to more than 1"),
        (11, 10, JUDGE, "successes must lie"),
    ],
)
def test_estimates_of_nothing_are_refused(yes: int, n: int, judge: Recalls, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        plug_in(yes, n, judge)


@pytest.mark.parametrize("estimate", [ppi, ppi_plus])
def test_prediction_needs_replies_beside_the_labelled(
    estimate: Callable[[Agreement, int, int], Estimate],
) -> None:
    with pytest.raises(ValueError, match="needs replies beside"):
        estimate(PEOPLE, 0, 0)


def test_more_found_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match="successes must lie"):
        Recalls(101, 100, 96, 100)
