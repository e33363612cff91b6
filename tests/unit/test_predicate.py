"""Predicates: golden trees, the column of the first trouble, and no crash."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from threatspec.schema import (
    Binary,
    Comparison,
    Number,
    Operand,
    Predicate,
    PredicateError,
    Term,
    operands,
    parse_predicate,
)


def shown(term: Term) -> str:
    match term:
        case Number(value=value):
            return f"{value:g}"
        case Binary(op=op, left=left, right=right):
            return f"({op} {shown(left)} {shown(right)})"
        case _:
            return str(term)


def tree(predicate: Predicate) -> list[str]:
    return [f"{shown(c.left)} {c.op} {shown(c.right)}" for c in predicate.comparisons]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("asr <= 0.10", ["asr <= 0.1"]),
        ("asr<=10%", ["asr <= 0.1"]),
        ("asr <= .5 %", ["asr <= 0.005"]),
        ("u >= 0.9 * undefended.u", ["u >= (* 0.9 undefended.u)"]),
        ("a - b - c < 1", ["(- (- a b) c) < 1"]),
        ("a + b * c / 2 > 1e-3", ["(+ a (/ (* b c) 2)) > 0.001"]),
        ("(a + b) * 2 > 1", ["(* (+ a b) 2) > 1"]),
        ("-a >= -1", ["(- 0 a) >= (- 0 1)"]),
        ("a <= 1 and control.b > 0 and c < 1", ["a <= 1", "control.b > 0", "c < 1"]),
        ("strict-match <= 0.1", ["strict-match <= 0.1"]),
    ],
)
def test_golden_trees(text: str, expected: list[str]) -> None:
    assert tree(parse_predicate(text)) == expected


def test_every_node_knows_its_column() -> None:
    predicate = parse_predicate("u >= 0.9 * undefended.u")
    times = Binary("*", Number(0.9, 5), Operand("u", "undefended", 11), 9)
    assert predicate.comparisons == (Comparison(">=", Operand("u", "", 0), times, 2),)


def test_the_text_is_kept_with_single_spaces() -> None:
    assert str(parse_predicate(" asr\n  <=   0.1 ")) == "asr <= 0.1"


def test_operands_are_listed_left_to_right_with_repetitions() -> None:
    predicate = parse_predicate("a <= 2 * before.b and (a + c) / 2 > 0")
    assert [str(operand) for operand in operands(predicate)] == ["a", "before.b", "a", "c"]


@pytest.mark.parametrize(
    ("text", "column", "code"),
    [
        ("", 0, "TS-PREDICATE-SYNTAX"),
        ("   ", 3, "TS-PREDICATE-SYNTAX"),
        ("asr", 3, "TS-PREDICATE-SYNTAX"),
        ("asr <=", 6, "TS-PREDICATE-SYNTAX"),
        ("asr <= 0.1 or b", 11, "TS-PREDICATE-SYNTAX"),
        ("asr <= 0.1 and", 14, "TS-PREDICATE-SYNTAX"),
        ("0 <= asr <= 1", 9, "TS-PREDICATE-SYNTAX"),
        ("(asr <= 1", 5, "TS-PREDICATE-SYNTAX"),
        ("asr == 1", 4, "TS-PREDICATE-SYNTAX"),
        ("asr <= $x", 7, "TS-PREDICATE-SYNTAX"),
        ("other.asr <= 1", 0, "TS-PREDICATE-SYNTAX"),
        ("__import__('os') <= 1", 10, "TS-PREDICATE-SYNTAX"),
        ("asr[domain] <= 1", 3, "TS-PREDICATE-SYNTAX"),
        ("(" * 100 + "a", 40, "TS-PREDICATE-SYNTAX"),
    ],
)
def test_errors_have_a_column_and_a_code(text: str, column: int, code: str) -> None:
    with pytest.raises(PredicateError) as caught:
        parse_predicate(text)
    assert (caught.value.column, caught.value.code) == (column, code)


PIECES = st.sampled_from(
    ["asr", "before.", "undefended.u", "and", "<=", ">", "(", ")", "-", "*", "/", "1e9", "5 %", "["]
)


@given(st.one_of(st.text(max_size=200), st.lists(PIECES, max_size=60).map(" ".join)))
def test_any_text_is_a_predicate_or_a_predicate_error(text: str) -> None:
    column = 0
    try:
        predicate = parse_predicate(text)
    except PredicateError as error:
        column = error.column
    else:
        assert tree(parse_predicate(predicate.text)) == tree(predicate)
    assert 0 <= column <= len(text)
