"""Planning: golden tables, and brute force over every outcome of up to 120 units."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from threatspec.statistics import (
    UnitsPlan,
    acceptance_number,
    acceptance_plan,
    can_refute,
    can_support,
    lower_bound,
    power_to_refute,
    power_to_support,
    refutation_number,
    refutation_plan,
    smallest_resolvable,
    smallest_units,
    units_to_refute,
    units_to_support,
    upper_bound,
)

MOST = 120
LIMITS = (0.001, 0.01, 0.05, 0.1, 0.2, 0.5, 0.8, 0.95, 0.99)
LEVELS = (0.1, 0.05, 0.01, 0.05 / 20)


def _pmf(n: int, rate: float) -> np.ndarray:
    return scipy.stats.binom.pmf(np.arange(n + 1), n, rate)


def _brute_acceptance(n: int, p0: float, alpha: float) -> int | None:
    passing = np.flatnonzero(np.cumsum(_pmf(n, p0)) <= alpha)
    return int(passing[-1]) if len(passing) else None


def _brute_refutation(n: int, p0: float, alpha: float) -> int | None:
    refuting = np.flatnonzero(np.cumsum(_pmf(n, p0)[::-1])[::-1] <= alpha)
    return int(refuting[0]) if len(refuting) else None


def _is_tie(n: int, p0: float, alpha: float) -> bool:
    """Whether a tail equals alpha but for rounding, as (1 - .95)^1 = .05."""
    pmf = _pmf(n, p0)
    tails = np.concatenate([np.cumsum(pmf), np.cumsum(pmf[::-1])])
    return bool((np.abs(tails - alpha) < 1e-12).any())


@pytest.mark.parametrize("alpha", LEVELS)
@pytest.mark.parametrize("p0", LIMITS)
def test_deciding_numbers_agree_with_brute_force(p0: float, alpha: float) -> None:
    compared = 0
    for n in range(MOST + 1):
        if _is_tie(n, p0, alpha):
            continue
        compared += 1
        acceptance = _brute_acceptance(n, p0, alpha)
        refutation = _brute_refutation(n, p0, alpha)
        assert acceptance_number(n, p0, alpha) == acceptance
        assert refutation_number(n, p0, alpha) == refutation
        assert can_support(n, p0, alpha) == (acceptance is not None)
        assert can_refute(n, p0, alpha) == (refutation is not None)
    assert compared >= MOST - 2


def test_deciding_numbers_agree_with_sums_of_fractions() -> None:
    p0, alpha = Fraction(1, 10), Fraction(1, 20)
    for n in range(1, MOST + 1, 7):
        pmf = [math.comb(n, j) * p0**j * (1 - p0) ** (n - j) for j in range(n + 1)]
        below = [c for c in range(n + 1) if sum(pmf[: c + 1]) <= alpha]
        above = [k for k in range(n + 1) if sum(pmf[k:]) <= alpha]
        assert acceptance_number(n, 0.1, 0.05) == (below[-1] if below else None)
        assert refutation_number(n, 0.1, 0.05) == (above[0] if above else None)


@settings(deadline=None)
@given(st.integers(1, 400), st.floats(0.001, 0.999), st.floats(0.001, 0.3))
def test_deciding_numbers_agree_with_the_bounds(n: int, p0: float, alpha: float) -> None:
    c, k = acceptance_number(n, p0, alpha), refutation_number(n, p0, alpha)
    if c is not None:
        assert upper_bound(c, n, alpha) <= p0 + 1e-12
    assert upper_bound(0 if c is None else c + 1, n, alpha) > p0 - 1e-12
    if k is not None:
        assert lower_bound(k, n, alpha) >= p0 - 1e-12
    assert lower_bound(n if k is None else k - 1, n, alpha) < p0 + 1e-12
    assert c is None or k is None or c < k


@settings(deadline=None)
@given(
    st.integers(0, MOST),
    st.sampled_from(LIMITS),
    st.sampled_from((0.0, 1.0)) | st.floats(1e-9, 1 - 1e-9),
    st.sampled_from(LEVELS),
    st.integers(1, 20),
)
def test_powers_agree_with_sums(n: int, p0: float, rate: float, alpha: float, cells: int) -> None:
    pmf = _pmf(n, rate)
    c, k = acceptance_number(n, p0, alpha), refutation_number(n, p0, alpha / cells)
    support = 0.0 if c is None else math.fsum(pmf[: c + 1]) ** cells
    refute = 0.0 if k is None else math.fsum(pmf[k:])
    assert power_to_support(n, p0, rate, alpha, cells) == pytest.approx(support, abs=1e-9)
    assert power_to_refute(n, p0, rate, alpha, cells) == pytest.approx(refute, abs=1e-9)


@pytest.mark.parametrize("p0", LIMITS)
def test_errors_at_the_limit_itself_stay_below_alpha(p0: float) -> None:
    for n in range(MOST + 1):
        assert power_to_support(n, p0, p0, 0.05) <= 0.05
        assert power_to_refute(n, p0, p0, 0.05) <= 0.05


def test_power_grows_with_the_distance_from_the_limit() -> None:
    support = [power_to_support(100, 0.1, rate, 0.05) for rate in (0.1, 0.07, 0.05, 0.02, 0.0)]
    refute = [power_to_refute(100, 0.1, rate, 0.05) for rate in (0.1, 0.15, 0.2, 0.5, 1.0)]
    assert support == sorted(support)
    assert refute == sorted(refute)
    assert support[-1] == refute[-1] == 1


@pytest.mark.parametrize("n", [1, 2, 14, 29, 59, 1000])
@pytest.mark.parametrize("alpha", LEVELS)
def test_smallest_resolvable_has_a_closed_form(n: int, alpha: float) -> None:
    assert smallest_resolvable(n, alpha) == pytest.approx(1 - alpha ** (1 / n), rel=1e-9)
    assert can_support(n, smallest_resolvable(n, alpha) + 1e-9, alpha)
    assert not can_support(n, smallest_resolvable(n, alpha) - 1e-9, alpha)


def test_nothing_read_resolves_and_decides_nothing() -> None:
    assert smallest_resolvable(0, 0.05) == 1
    assert not can_support(0, 0.5, 0.05)
    assert not can_refute(0, 0.5, 0.05)
    assert power_to_support(0, 0.5, 0.0, 0.05) == power_to_refute(0, 0.5, 1.0, 0.05) == 0


@pytest.mark.parametrize(
    ("p0", "units"), [(0.20, 14), (0.10, 29), (0.05, 59), (0.02, 149), (0.01, 299), (0.001, 2995)]
)
def test_golden_units_when_nothing_is_found(p0: float, units: int) -> None:
    # Source: the exact rule of three at 95 %, computed with scipy 1.17.
    assert smallest_units(p0, 0.05) == units
    assert can_support(units, p0, 0.05)
    assert not can_support(units - 1, p0, 0.05)


@settings(deadline=None)
@given(st.floats(1e-4, 1 - 1e-4), st.floats(1e-6, 0.999))
def test_smallest_units_is_the_first_that_could_support(p0: float, alpha: float) -> None:
    n = smallest_units(p0, alpha)
    assert n is not None
    assert (1 - p0) ** n <= alpha
    assert n == 1 or (1 - p0) ** (n - 1) > alpha


def test_limits_at_the_ends() -> None:
    assert smallest_units(0.0, 0.05) is None
    assert smallest_units(1.0, 0.05) == 1
    assert acceptance_number(50, 0.0, 0.05) is None
    assert acceptance_number(50, 1.0, 0.05) == 50
    assert refutation_number(50, 0.0, 0.05) == 1
    assert refutation_number(50, 1.0, 0.05) is None


@pytest.mark.parametrize(("n", "successes"), [(20, 15), (30, 20), (50, 32), (100, 59), (200, 113)])
def test_golden_successes_of_a_positive_control(n: int, successes: int) -> None:
    # Source: smallest k whose 95 % lower bound reaches one half, computed with scipy 1.17.
    assert refutation_number(n, 0.5, 0.05) == successes


@pytest.mark.parametrize(
    ("p0", "rate", "at_80", "at_90"),
    [
        (0.20, 0.10, (82, 10), (112, 15)),
        (0.10, 0.07, (549, 43), (748, 61)),
        (0.10, 0.05, (179, 11), (239, 16)),
        (0.10, 0.03, (76, 3), (103, 5)),
        (0.10, 0.02, (61, 2), (76, 3)),
        (0.05, 0.02, (234, 6), (311, 9)),
        (0.05, 0.01, (124, 2), (153, 3)),
        (0.01, 0.002, (628, 2), (773, 3)),
    ],
)
def test_golden_acceptance_plans(
    p0: float, rate: float, at_80: tuple[int, int], at_90: tuple[int, int]
) -> None:
    # Source: exact search with scipy 1.17.
    assert acceptance_plan(p0, rate, 0.8, 0.05) == UnitsPlan(*at_80)
    assert acceptance_plan(p0, rate, 0.9, 0.05) == UnitsPlan(*at_90)


@pytest.mark.parametrize(
    ("rate", "plans"),
    [
        (0.01, [(46, 1), (61, 2), (61, 2), (76, 3), (76, 3), (89, 4)]),
        (0.02, [(61, 2), (76, 3), (89, 4), (103, 5), (116, 6), (142, 8)]),
        (0.03, [(76, 3), (116, 6), (129, 7), (154, 9), (179, 11), (203, 13)]),
        (0.05, [(179, 11), (263, 18), (310, 22), (356, 26), (413, 31), (481, 37)]),
    ],
)
def test_golden_acceptance_plans_of_several_cells(
    rate: float, plans: list[tuple[int, int]]
) -> None:
    # Source: exact search with scipy 1.17; limit .10, power .8 that all cells pass.
    for cells, plan in zip((1, 3, 5, 10, 20, 50), plans, strict=True):
        assert acceptance_plan(0.1, rate, 0.8, 0.05, cells) == UnitsPlan(*plan)


@pytest.mark.parametrize(
    ("rate", "alone", "of_twenty"),
    [(0.15, 270, 565), (0.20, 78, 159), (0.30, 25, 48), (0.50, 8, 15)],
)
def test_golden_refutation_plans(rate: float, alone: int, of_twenty: int) -> None:
    # Source: exact search with scipy 1.17; limit .10, power .8.
    single, shared = (refutation_plan(0.1, rate, 0.8, 0.05, cells) for cells in (1, 20))
    assert single is not None
    assert shared is not None
    assert (single.units, shared.units) == (alone, of_twenty)
    if rate == 0.15:
        assert single.successes == 36


@pytest.mark.parametrize("cells", [1, 4])
@pytest.mark.parametrize("power", [0.5, 0.8])
@pytest.mark.parametrize(
    ("p0", "rate"), [(0.1, 0.02), (0.1, 0.0), (0.2, 0.1), (0.5, 0.3), (0.9, 0.6), (0.1, 0.3)]
)
def test_plans_are_the_first_of_all_numbers(
    p0: float, rate: float, power: float, cells: int
) -> None:
    supports = (n for n in range(1000) if power_to_support(n, p0, rate, 0.05, cells) >= power)
    refutes = (n for n in range(1000) if power_to_refute(n, p0, rate, 0.05, cells) >= power)
    if rate < p0:
        n = next(supports)
        expected = UnitsPlan(n, acceptance_number(n, p0, 0.05) or 0)
        assert acceptance_plan(p0, rate, power, 0.05, cells) == expected
        assert refutation_plan(p0, rate, power, 0.05, cells) is None
    else:
        n = next(refutes)
        expected = UnitsPlan(n, refutation_number(n, p0, 0.05 / cells) or 0)
        assert refutation_plan(p0, rate, power, 0.05, cells) == expected
        assert acceptance_plan(p0, rate, power, 0.05, cells) is None


@pytest.mark.parametrize("alpha", [0.05, 0.01])
@pytest.mark.parametrize(("rate", "p0"), [(0.0, 0.05), (0.02, 0.1), (0.05, 0.1), (0.3, 0.5)])
def test_units_to_support_do_and_one_fewer_does_not(rate: float, p0: float, alpha: float) -> None:
    units = units_to_support(rate, p0, alpha)
    assert units is not None
    assert upper_bound(math.ceil(rate * units - 1e-9), units, alpha) <= p0
    fewer = units - 1
    assert upper_bound(math.ceil(rate * fewer - 1e-9), fewer, alpha) > p0


@pytest.mark.parametrize("cells", [1, 20])
@pytest.mark.parametrize(("rate", "p0"), [(1.0, 0.5), (0.15, 0.1), (0.2, 0.1), (0.01, 0.0)])
def test_units_to_refute_do_and_one_fewer_does_not(rate: float, p0: float, cells: int) -> None:
    units = units_to_refute(rate, p0, 0.05, cells)
    assert units is not None
    assert lower_bound(math.floor(rate * units + 1e-9), units, 0.05 / cells) > p0
    fewer = units - 1
    assert lower_bound(math.floor(rate * fewer + 1e-9), fewer, 0.05 / cells) <= p0


def test_no_number_of_units_decides_on_the_wrong_side_or_too_near() -> None:
    assert units_to_support(0.1, 0.1, 0.05) is None
    assert units_to_support(0.2, 0.1, 0.05) is None
    assert units_to_support(0.0999999, 0.1, 0.05) is None
    assert units_to_refute(0.1, 0.1, 0.05) is None
    assert units_to_refute(0.05, 0.1, 0.05) is None
    assert units_to_refute(0.1000001, 0.1, 0.05) is None


def test_plans_for_rates_near_the_limit_take_leaps() -> None:
    assert acceptance_plan(0.1, 0.095, 0.8, 0.05) == UnitsPlan(21832, 2110)
    assert refutation_plan(0.1, 0.105, 0.8, 0.05) == UnitsPlan(22709, 2346)
    assert acceptance_plan(1e-7, 0.0, 0.8, 0.05) is None
    assert refutation_plan(0.0, 1e-7, 0.8, 0.05) is None
