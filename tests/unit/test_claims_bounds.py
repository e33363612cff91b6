"""Predicates on counts: truth from bounds, p-values by inversion, and what the unknown may do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from threatspec.claims import (
    Bound,
    Lookup,
    Tally,
    Truth,
    bound_of,
    distinct_operands,
    evaluate,
    refutation_p,
)
from threatspec.claims._bounds import arithmetic, could_be_true, least_refutation_p
from threatspec.schema import parse_predicate
from threatspec.statistics import holm, lower_bound, p_exceeds, p_falls_short, upper_bound


def reading(**counts: tuple[int, int] | tuple[int, int, int]) -> Lookup:
    """`asr=(3, 100)` or `undefended__asr=(3, 100, 1)`: yes, units, unknown."""
    found = {
        name.replace("__", "."): Tally(units=c[1], yes=c[0], unknown=c[2] if len(c) > 2 else 0)
        for name, c in counts.items()
    }
    return lambda operand: found.get(str(operand))


def truth(text: str, alpha: float = 0.05, **counts: tuple[int, int]) -> Truth:
    return evaluate(parse_predicate(text), reading(**counts), alpha)


def p_value(text: str, **counts: tuple[int, int]) -> float:
    return refutation_p(parse_predicate(text), reading(**counts))


@pytest.mark.parametrize(
    ("text", "yes", "expected"),
    [
        ("asr <= 0.10", 0, Truth.TRUE),
        ("asr <= 0.10", 4, Truth.TRUE),
        ("asr <= 0.10", 5, Truth.UNDECIDED),
        ("asr <= 0.10", 15, Truth.UNDECIDED),
        ("asr <= 0.10", 16, Truth.FALSE),
        ("0.10 >= asr", 16, Truth.FALSE),
        ("asr >= 0.90", 96, Truth.TRUE),
        ("asr >= 0.90", 95, Truth.UNDECIDED),
        ("asr >= 0.90", 84, Truth.FALSE),
        ("asr < 10 %", 4, Truth.TRUE),
        ("asr > 0.90", 96, Truth.TRUE),
    ],
)
def test_one_measure_against_a_number(text: str, yes: int, expected: Truth) -> None:
    assert truth(text, asr=(yes, 100)) is expected


def test_nothing_found_in_a_few_units_is_no_proof() -> None:
    assert truth("asr <= 0.10", asr=(0, 28)) is Truth.UNDECIDED
    assert truth("asr <= 0.10", asr=(0, 29)) is Truth.TRUE
    assert truth("asr <= 0.10", asr=(0, 0)) is Truth.UNDECIDED


@pytest.mark.parametrize(
    ("text", "operands"),
    [("a - b <= 0", 2), ("a - a <= 0", 1), ("a - before.a <= 0", 2), ("a + a * b - b <= 0", 2)],
)
def test_the_level_is_shared_by_distinct_operands(text: str, operands: int) -> None:
    assert len(distinct_operands(parse_predicate(text))) == operands


def test_operands_are_bounded_at_their_share_of_the_level() -> None:
    gap = lower_bound(40, 100, 0.025) - upper_bound(10, 100, 0.025)
    counts = {"asr": (40, 100), "undefended__asr": (10, 100)}
    assert truth(f"asr - undefended.asr <= {gap - 1e-9}", **counts) is Truth.FALSE
    assert truth(f"asr - undefended.asr <= {gap + 1e-9}", **counts) is Truth.UNDECIDED


def test_conjunction_is_three_valued() -> None:
    low, middle, high = (0, 100), (10, 100), (60, 100)
    assert truth("a <= 0.1 and b <= 0.1", a=low, b=low) is Truth.TRUE
    assert truth("a <= 0.1 and b <= 0.1", a=low, b=middle) is Truth.UNDECIDED
    assert truth("a <= 0.1 and b <= 0.1", a=middle, b=high) is Truth.FALSE


def test_an_operand_of_which_nothing_is_known_decides_nothing() -> None:
    assert truth("asr <= 0.1") is Truth.UNDECIDED
    assert truth("asr <= 0.5 * undefended.asr", asr=(0, 100)) is Truth.UNDECIDED
    assert p_value("asr <= 0.1") == 1.0


def test_division_by_what_may_be_zero_decides_nothing() -> None:
    assert truth("a / b <= 0.5", a=(0, 100), b=(0, 100)) is Truth.UNDECIDED
    assert truth("a / b <= 0.5", a=(5, 100), b=(90, 100)) is Truth.TRUE


def test_what_is_true_or_false_of_every_count_is_found_before_measuring() -> None:
    assert arithmetic(parse_predicate("asr <= 1")) is Truth.TRUE
    assert arithmetic(parse_predicate("asr - utility <= 1")) is Truth.TRUE
    assert arithmetic(parse_predicate("asr >= 1")) is Truth.UNDECIDED
    assert arithmetic(parse_predicate("asr > 1")) is Truth.FALSE
    assert arithmetic(parse_predicate("asr <= 0.99")) is Truth.UNDECIDED


@given(st.integers(0, 100), st.sampled_from([0.02, 0.1, 0.37, 0.9]))
def test_inversion_gives_the_exact_p_value_of_one_bound(yes: int, p0: float) -> None:
    for text, exact in (
        (f"asr <= {p0}", p_exceeds(yes, 100, p0)),
        (f"asr >= {p0}", p_falls_short(yes, 100, p0)),
    ):
        expected = 1.0 if exact > 0.5 else max(exact, 1e-12)
        assert p_value(text, asr=(yes, 100)) == pytest.approx(expected, rel=1e-6)


@given(st.integers(0, 60), st.integers(0, 60), st.sampled_from([0.001, 0.01, 0.05, 0.2]))
def test_a_comparison_is_false_exactly_at_levels_from_its_p_value_on(
    a: int, b: int, alpha: float
) -> None:
    counts = {"a": (a, 60), "b": (b, 60)}
    false = truth("a <= 0.5 * b", alpha, **counts) is Truth.FALSE
    p = p_value("a <= 0.5 * b", **counts)
    assert false == (p <= alpha) or p == pytest.approx(alpha, rel=1e-6)


def test_a_conjunction_pays_for_its_comparisons() -> None:
    alone = p_value("a <= 0.1", a=(17, 100))
    assert p_value("a <= 0.1 and b <= 0.1", a=(17, 100), b=(0, 100)) == pytest.approx(2 * alone)
    assert p_value("a <= 0.1 and b <= 0.1", a=(10, 100), b=(0, 100)) <= 1.0


def test_p_values_have_a_floor_and_a_roof() -> None:
    assert p_value("asr <= 0.1", asr=(100, 100)) == 1e-12
    assert p_value("asr <= 0.1", asr=(0, 100)) == 1.0


def test_missing_units_count_against_the_attack_and_against_the_claim() -> None:
    few = reading(asr=(16, 100, 0))
    some = reading(asr=(3, 100, 13))
    predicate = parse_predicate("asr <= 0.10")
    assert evaluate(predicate, few, 0.05) is Truth.FALSE
    assert evaluate(predicate, some, 0.05) is Truth.UNDECIDED
    assert refutation_p(predicate, some) == 1.0


def test_the_least_p_value_is_that_of_the_worst_answers_still_missing() -> None:
    predicate = parse_predicate("asr <= 0.10")
    assert least_refutation_p(predicate, reading(asr=(3, 100, 13))) == pytest.approx(
        refutation_p(predicate, reading(asr=(16, 100)))
    )
    both = parse_predicate("asr <= 0.5 * undefended.asr")
    unknown = reading(asr=(30, 100, 30), undefended__asr=(30, 100, 60))
    worst = reading(asr=(60, 100), undefended__asr=(30, 100))
    assert least_refutation_p(both, unknown) == refutation_p(both, worst)


def test_what_could_still_be_true() -> None:
    predicate = parse_predicate("utility >= 0.5 * undefended.utility")
    low = reading(utility=(10, 100, 60), undefended__utility=(90, 100))
    gone = reading(utility=(10, 100, 5), undefended__utility=(90, 100))
    assert could_be_true(predicate, low, 0.05)
    assert not could_be_true(predicate, gone, 0.05)


def test_very_many_operands_with_missing_answers_are_not_gone_through() -> None:
    text = " + ".join(f"m{n}" for n in range(30)) + " <= 1"
    counts = {f"m{n}": (0, 10, 1) for n in range(30)}
    assert least_refutation_p(parse_predicate(text), reading(**counts)) == 1e-12
    assert could_be_true(parse_predicate(text), reading(**counts), 0.05)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("asr <= 0.10", Bound("asr", 0.10, at_most=True)),
        ("0.10 > asr", Bound("asr", 0.10, at_most=True)),
        ("utility >= 90 %", Bound("utility", 0.90, at_most=False)),
        ("asr <= undefended.asr", None),
        ("before.asr <= 0.10", None),
        ("asr + 0 <= 0.10", None),
        ("asr <= 0.10 and utility >= 0.5", None),
    ],
)
def test_which_predicates_are_one_bound(text: str, expected: Bound | None) -> None:
    assert bound_of(parse_predicate(text)) == expected


def test_cells_that_cannot_speak_make_the_others_pay() -> None:
    assert holm([0.02, 1.0, 1.0])[0] == pytest.approx(0.06)
