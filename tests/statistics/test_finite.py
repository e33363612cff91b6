"""Shares of a finite population: golden values, scipy, and exact coverage by enumeration."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from threatspec.statistics import finite_lower, finite_upper, lower_bound, upper_bound

BOUNDS = [finite_lower, finite_upper]

alphas = st.floats(1e-4, 0.4)


@st.composite
def draws(draw: st.DrawFn, most: int = 400) -> tuple[int, int, int]:
    population = draw(st.integers(1, most))
    n = draw(st.integers(0, population))
    return draw(st.integers(0, n)), n, population


@pytest.mark.parametrize(
    ("population", "bound", "digits"),
    [(100, 0.03, 3), (200, 0.06, 3), (320, 0.0656, 4), (1000, 0.073, 3), (10**7, 0.0757, 4)],
)
def test_golden_upper_bounds_of_three_in_a_hundred(
    population: int, bound: float, digits: int
) -> None:
    # Source: search over scipy.stats.hypergeom, scipy 1.17; the last is that of any population.
    assert finite_upper(3, 100, population, 0.05) == pytest.approx(bound, abs=0.51 * 10**-digits)


@settings(deadline=None)
@given(draws(), alphas)
def test_bounds_agree_with_a_search_over_scipy(drawn: tuple[int, int, int], alpha: float) -> None:
    k, n, population = drawn
    yes = np.arange(k, population - (n - k) + 1)
    fits_above = yes[scipy.stats.hypergeom.cdf(k, population, yes, n) > alpha * (1 - 1e-7)]
    fits_below = yes[scipy.stats.hypergeom.sf(k - 1, population, yes, n) > alpha * (1 - 1e-7)]
    assert finite_upper(k, n, population, alpha) == fits_above.max() / population
    assert finite_lower(k, n, population, alpha) == fits_below.min() / population


@pytest.mark.parametrize("alpha", [0.2, 0.05, 0.01])
@pytest.mark.parametrize(("n", "population"), [(1, 5), (10, 12), (29, 40), (50, 200), (100, 320)])
def test_bounds_cover_every_share(n: int, population: int, alpha: float) -> None:
    uppers = np.array([finite_upper(k, n, population, alpha) for k in range(n + 1)])
    lowers = np.array([finite_lower(k, n, population, alpha) for k in range(n + 1)])
    for yes in range(population + 1):
        pmf = scipy.stats.hypergeom.pmf(range(n + 1), population, yes, n)
        assert pmf[uppers >= yes / population].sum() >= 1 - alpha - 1e-9
        assert pmf[lowers <= yes / population].sum() >= 1 - alpha - 1e-9


@settings(deadline=None)
@given(draws(), alphas)
def test_bounds_hold_what_was_drawn_move_with_successes_and_mirror(
    drawn: tuple[int, int, int], alpha: float
) -> None:
    k, n, population = drawn
    low, high = (bound(k, n, population, alpha) for bound in BOUNDS)
    assert 0 <= low <= high <= 1
    # not always around k/n: of 9 units with 1 yes among 8, at most 1/9 is yes at alpha = .25
    assert k / population <= high
    assert low <= (k + population - n) / population
    if k < n:
        assert low <= finite_lower(k + 1, n, population, alpha)
        assert high <= finite_upper(k + 1, n, population, alpha)
    assert high == pytest.approx(1 - finite_lower(n - k, n, population, alpha), abs=1e-12)


@settings(deadline=None)
@given(st.integers(1, 200), st.data(), alphas)
def test_all_units_leave_no_doubt_and_none_leave_everything_open(
    population: int, data: st.DataObject, alpha: float
) -> None:
    k = data.draw(st.integers(0, population))
    for bound in BOUNDS:
        assert bound(k, population, population, alpha) == k / population
    assert [bound(0, 0, population, alpha) for bound in BOUNDS] == [0, 1]


@pytest.mark.parametrize(("k", "n"), [(0, 29), (3, 100), (50, 100)])
def test_a_large_population_is_like_an_endless_one(k: int, n: int) -> None:
    assert finite_upper(k, n, 10**6, 0.05) == pytest.approx(upper_bound(k, n, 0.05), rel=1e-3)
    assert finite_lower(k, n, 10**6, 0.05) == pytest.approx(lower_bound(k, n, 0.05), rel=1e-3)
    assert finite_upper(k, n, 10 * n, 0.05) < upper_bound(k, n, 0.05)


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize(
    ("k", "n", "population", "alpha", "said"),
    [
        (3, 10, 9, 0.05, "a population must hold"),
        (0, 0, 0, 0.05, "a population must hold"),
        (11, 10, 20, 0.05, "successes must lie"),
        (3, 10, 20, 1.0, "alpha must lie"),
    ],
)
def test_impossible_counts_are_refused(
    bound: Callable[[int, int, int, float], float],
    k: int,
    n: int,
    population: int,
    alpha: float,
    said: str,
) -> None:
    with pytest.raises(ValueError, match=said):
        bound(k, n, population, alpha)
