"""Looks and their boundaries: against bounds, and what they err by an exact dynamic programme."""

from __future__ import annotations

import itertools
import math

import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from threatspec.statistics import (
    Boundary,
    SequentialPower,
    acceptance_number,
    boundaries,
    looks,
    power_to_refute,
    power_to_support,
    refutation_number,
    sequence_lower,
    sequence_upper,
    sequential_power,
)

ALPHA = 0.05


def test_the_schedule_is_fixed() -> None:
    assert looks(64) == (8, 12, 16, 20, 24, 28, 32, 40, 48, 64)
    assert looks(100) == (8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 100)
    assert looks(320)[-5:] == (160, 192, 224, 256, 320)


@pytest.mark.parametrize("units", [1, 8, 29, 63])
def test_few_units_are_looked_at_once(units: int) -> None:
    assert looks(units) == (units,)


@given(st.integers(64, 100_000))
def test_looks_end_with_all_units_and_keep_their_distance(units: int) -> None:
    schedule = looks(units)
    assert schedule[0] == 8
    assert schedule[-1] == units
    assert units - schedule[-2] >= schedule[-2] / 4
    for before, after in itertools.pairwise(schedule[1:-1]):
        assert 1.1 < after / before <= 1.34
    assert schedule[-1] / schedule[-2] < 1.6


@given(st.integers(64, 5000), st.integers(64, 5000))
def test_more_units_only_add_looks(one: int, other: int) -> None:
    few, many = sorted((one, other))
    assert set(looks(few)[:-1]) <= set(looks(many))


@pytest.mark.parametrize("units", [0, -1])
def test_no_unit_has_no_look(units: int) -> None:
    with pytest.raises(ValueError, match="at least one unit"):
        looks(units)


@pytest.mark.parametrize("p0", [0.01, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("cells", [1, 20])
def test_a_single_look_decides_by_the_exact_test(p0: float, cells: int) -> None:
    for n in (1, 29, 63, 500):
        support, refute = acceptance_number(n, p0, ALPHA), refutation_number(n, p0, ALPHA / cells)
        assert boundaries((n,), p0, ALPHA, cells) == (Boundary(n, support, refute),)
        for rate in (p0 / 2, (1 + p0) / 2):
            power = sequential_power((n,), p0, rate, ALPHA, cells)
            assert power.expected_units == pytest.approx(n)
            supports = power_to_support(n, p0, rate, ALPHA)
            refutes = power_to_refute(n, p0, rate, ALPHA, cells)
            assert (power.supports, power.refutes) == pytest.approx((supports, refutes), abs=1e-9)


@settings(deadline=None, max_examples=15)
@given(st.integers(64, 600), st.floats(0.01, 0.99), st.floats(1e-3, 0.3), st.integers(1, 30))
def test_boundaries_are_where_the_ends_of_the_sequence_pass_the_limit(
    units: int, p0: float, alpha: float, cells: int
) -> None:
    for boundary in boundaries(looks(units), p0, alpha, cells):
        n, support, refute = boundary.look, boundary.supports_at_most, boundary.refutes_at_least
        open_from = -1 if support is None else support
        refuted_from = n + 1 if refute is None else refute
        assert open_from < refuted_from
        if open_from >= 0:
            assert sequence_upper(open_from, n, alpha) <= p0 + 1e-9
        if open_from < n:
            assert sequence_upper(open_from + 1, n, alpha) > p0 - 1e-9
        if refuted_from <= n:
            assert sequence_lower(refuted_from, n, alpha / cells) >= p0 - 1e-9
        if refuted_from > 0:
            assert sequence_lower(refuted_from - 1, n, alpha / cells) < p0 + 1e-9


def test_impossible_and_certain_limits() -> None:
    never, always = boundaries((8, 16), 0.0, ALPHA), boundaries((8, 16), 1.0, ALPHA)
    assert never == (Boundary(8, None, 1), Boundary(16, None, 1))
    assert always == (Boundary(8, 8, None), Boundary(16, 16, None))


def _enumerated(
    schedule: tuple[int, ...], p0: float, rate: float, alpha: float, cells: int
) -> SequentialPower:
    """Every sequence of outcomes, one by one."""
    ends = {"supports": 0.0, "refutes": 0.0, "undecided": 0.0}
    expected = 0.0
    for outcomes in itertools.product((0, 1), repeat=schedule[-1]):
        yes = sum(outcomes)
        chance = rate**yes * (1 - rate) ** (len(outcomes) - yes)
        end, units = "undecided", schedule[-1]
        for boundary in boundaries(schedule, p0, alpha, cells):
            k, support = sum(outcomes[: boundary.look]), boundary.supports_at_most
            if boundary.refutes_at_least is not None and k >= boundary.refutes_at_least:
                end, units = "refutes", boundary.look
                break
            if support is not None and k <= support:
                end, units = "supports", boundary.look
                break
        ends[end] += chance
        expected += chance * units
    return SequentialPower(**ends, expected_units=expected)


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.5, 0.8, 1.0])
@pytest.mark.parametrize(
    ("schedule", "p0", "alpha", "cells"),
    [((3, 5, 9, 12), 0.5, 0.2, 1), ((1, 2, 11), 0.4, 0.3, 3), ((4, 12), 0.7, 0.1, 1)],
)
def test_power_agrees_with_all_sequences(
    schedule: tuple[int, ...], p0: float, rate: float, alpha: float, cells: int
) -> None:
    found = sequential_power(schedule, p0, rate, alpha, cells)
    expected = _enumerated(schedule, p0, rate, alpha, cells)
    for name in ("supports", "refutes", "undecided", "expected_units"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), abs=1e-10)


@pytest.mark.parametrize("p0", [0.01, 0.05, 0.1, 0.3, 0.5, 0.9])
@pytest.mark.parametrize(("alpha", "cells"), [(0.05, 1), (0.05, 20), (0.0125, 1)])
@pytest.mark.parametrize("units", [64, 100, 239, 320, 1000])
def test_stopping_at_looks_errs_with_chance_at_most_alpha(
    units: int, p0: float, alpha: float, cells: int
) -> None:
    schedule = looks(units)
    for rate in (p0, p0 + 0.05 * (1 - p0), p0 + 0.3 * (1 - p0)):
        assert sequential_power(schedule, p0, rate, alpha, cells).supports <= alpha
    for rate in (p0, 0.95 * p0, 0.5 * p0):
        assert sequential_power(schedule, p0, rate, alpha, cells).refutes <= alpha / cells


@settings(deadline=None, max_examples=25)
@given(st.integers(64, 600), st.floats(0.02, 0.9), st.floats(0, 1), st.integers(1, 20))
def test_ends_add_up_and_move_with_the_rate(units: int, p0: float, rate: float, cells: int) -> None:
    power = sequential_power(looks(units), p0, rate, ALPHA, cells)
    worse = sequential_power(looks(units), p0, min(1.0, rate + 0.05), ALPHA, cells)
    assert power.supports + power.refutes + power.undecided == pytest.approx(1, abs=1e-9)
    assert 8 <= power.expected_units <= units + 1e-6
    assert worse.supports <= power.supports + 1e-9
    assert worse.refutes >= power.refutes - 1e-9


def test_a_broken_safeguard_is_refuted_within_tens_of_units() -> None:
    for cells, share in ((1, 0.15), (20, 0.25)):
        power = sequential_power(looks(1000), 0.1, 0.3, ALPHA, cells)
        assert power.refutes > 0.9999
        assert power.expected_units <= share * 239
    undefended = sequential_power(looks(1000), 0.1, 0.95, ALPHA)
    assert undefended.expected_units <= 20


@pytest.mark.parametrize("schedule", [(), (0, 8), (8, 8), (16, 8)])
def test_impossible_looks_are_refused(schedule: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="looks must be"):
        boundaries(schedule, 0.1, ALPHA)


def test_no_cells_are_refused() -> None:
    with pytest.raises(ValueError, match="cells must be at least 1"):
        sequential_power((8, 16), 0.1, 0.1, ALPHA, 0)


def test_chances_of_many_units_keep_their_digits() -> None:
    power = sequential_power((5000, 10_000), 0.3, 0.29, ALPHA)
    first, last = boundaries((5000, 10_000), 0.3, ALPHA)
    assert first.supports_at_most is not None
    at_first = scipy.stats.binom.cdf(first.supports_at_most, 5000, 0.29)
    assert last.supports_at_most is not None
    in_all = scipy.stats.binom.cdf(last.supports_at_most, 10_000, 0.29)
    assert max(at_first, in_all) < power.supports < at_first + in_all
    assert math.isclose(power.supports + power.refutes + power.undecided, 1, abs_tol=1e-9)
