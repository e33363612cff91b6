"""Interval arithmetic: whatever the operands are, the result lies inside; NaN never appears."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from threatspec.statistics import Interval

LINE = Interval(-math.inf, math.inf)
OPERATORS = [operator.add, operator.sub, operator.mul, operator.truediv]

Operator = Callable[..., Interval]

# Both ordinary numbers and the extremes of a double.
numbers = st.floats(-100, 100) | st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def intervals(draw: st.DrawFn) -> Interval:
    return Interval(*sorted((draw(numbers), draw(numbers))))


@st.composite
def members(draw: st.DrawFn) -> tuple[Interval, float]:
    low, inside, high = sorted((draw(numbers), draw(numbers), draw(numbers)))
    return Interval(low, high), inside


@pytest.mark.parametrize("apply", OPERATORS)
@given(one=members(), other=members())
def test_the_result_of_any_members_lies_inside(
    apply: Operator, one: tuple[Interval, float], other: tuple[Interval, float]
) -> None:
    (x_range, x), (y_range, y) = one, other
    assume(apply is not operator.truediv or y != 0)
    result = apply(x_range, y_range)
    assert result.lower <= apply(x, y) <= result.upper


@pytest.mark.parametrize("apply", OPERATORS)
@given(
    one=st.tuples(st.floats(allow_nan=False), st.floats(allow_nan=False)),
    other=st.tuples(st.floats(allow_nan=False), st.floats(allow_nan=False)),
)
def test_nan_never_appears_even_with_infinite_ends(
    apply: Operator, one: tuple[float, float], other: tuple[float, float]
) -> None:
    result = apply(Interval(*sorted(one)), Interval(*sorted(other)))
    assert result.lower <= result.upper
    assert result == LINE or (math.isfinite(result.lower) and math.isfinite(result.upper))


@pytest.mark.parametrize("apply", OPERATORS)
@given(one=intervals(), other=intervals(), wider=intervals())
def test_wider_operands_never_give_a_narrower_result(
    apply: Operator, one: Interval, other: Interval, wider: Interval
) -> None:
    widened = Interval(min(one.lower, wider.lower), max(one.upper, wider.upper))
    inner, outer = apply(one, other), apply(widened, other)
    assert outer.lower <= inner.lower
    assert inner.upper <= outer.upper


@given(intervals(), intervals())
def test_division_by_an_interval_around_zero_says_nothing(one: Interval, other: Interval) -> None:
    around = Interval(-abs(other.lower), abs(other.upper))
    assert one / around == LINE


@pytest.mark.parametrize(
    "divisor", [Interval(0.0, 1.0), Interval(-1.0, 0.0), Interval(0.0, 0.0), Interval(-0.0, 2.0)]
)
def test_division_by_an_interval_that_touches_zero_says_nothing(divisor: Interval) -> None:
    assert Interval(1.0, 2.0) / divisor == LINE
    assert Interval(0.0, 0.0) / divisor == LINE


@given(intervals(), intervals())
def test_sums_and_products_commute(one: Interval, other: Interval) -> None:
    assert one + other == other + one
    assert one * other == other * one


@pytest.mark.parametrize(
    ("apply", "result"),
    [
        (operator.add, Interval(1.0, 6.0)),
        (operator.sub, Interval(-5.0, 0.0)),
        (operator.mul, Interval(-4.0, 8.0)),
        (operator.truediv, Interval(-0.5, 1.0)),
    ],
)
def test_worked_examples(apply: Operator, result: Interval) -> None:
    assert apply(Interval(-1.0, 2.0), Interval(2.0, 4.0)) == result


@given(numbers)
def test_a_point_holds_one_number(value: float) -> None:
    point = Interval.point(value)
    assert (point.lower, point.upper) == (value, value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_point_that_is_no_number_says_nothing(value: float) -> None:
    assert Interval.point(value) == LINE


@pytest.mark.parametrize("apply", OPERATORS)
def test_overflow_says_nothing(apply: Operator) -> None:
    huge, tiny = Interval(-1.7e308, 1.7e308), Interval(1e-300, 1.0)
    assert apply(huge, tiny if apply is operator.truediv else huge) == LINE


@pytest.mark.parametrize("apply", OPERATORS)
def test_the_whole_line_stays_the_whole_line(apply: Operator) -> None:
    for other in (Interval(0.0, 0.0), Interval(1.0, 2.0), LINE):
        assert apply(LINE, other) == LINE
    assert apply(Interval(1.0, 2.0), LINE) == LINE


@pytest.mark.parametrize(
    ("lower", "upper"), [(1.0, 0.0), (math.nan, 1.0), (0.0, math.nan), (math.inf, -math.inf)]
)
def test_reversed_or_unordered_ends_are_refused(lower: float, upper: float) -> None:
    with pytest.raises(ValueError, match="lower must not exceed upper"):
        Interval(lower, upper)
