"""What a predicate is about: which measure to show, and which answers to it are worth reading.

Nothing here decides anything; verdicts come ready from `threatspec.claims`.
"""

from __future__ import annotations

from dataclasses import dataclass

from threatspec.records import Outcome
from threatspec.schema import Binary, Comparison, Number, Operand, Term, operands, parse_predicate

__all__ = ["Limit", "breaking_outcome", "limit", "own_measure", "own_reading"]

_ARITHMETIC = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
}


@dataclass(frozen=True, slots=True)
class Limit:
    """What a predicate allows of its own measure."""

    at_most: bool
    """True if more `yes` speaks against the predicate."""
    value: float | None
    """The bound, where it is a constant and not another measure."""


def own_measure(text: str) -> str:
    """The first measure that a predicate reads on the attacked cell itself."""
    found = _own(text)
    return found.measure if found else ""


def own_reading(text: str) -> str:
    """The same as it stands among a cell's readings, with its slice if it has one."""
    found = _own(text)
    return str(found) if found else ""


def limit(text: str) -> Limit:
    """What a predicate allows of its own measure, from the first comparison that reads it."""
    own = _own(text)
    for comparison in parse_predicate(text).comparisons:
        for alone, side, other in _sides(comparison):
            if any(str(o) == str(own) for o in operands(side)):
                at_most = (comparison.op in {"<=", "<"}) == (side is comparison.left)
                return Limit(at_most, _constant(other) if alone else None)
    return Limit(True, None)


def breaking_outcome(text: str, measure: str) -> Outcome:
    """The answers that speak against a predicate: `yes` for "at most", `no` for "at least"."""
    for comparison in parse_predicate(text).comparisons:
        on_left = any(o.measure == measure and not o.arm for o in operands(comparison.left))
        on_right = any(o.measure == measure and not o.arm for o in operands(comparison.right))
        if on_left or on_right:
            at_most = comparison.op in {"<=", "<"}
            return Outcome.YES if at_most == on_left else Outcome.NO
    return Outcome.YES


def _own(text: str) -> Operand | None:
    found = list(operands(parse_predicate(text)))
    return next((o for o in found if not o.arm), found[0] if found else None)


def _sides(comparison: Comparison) -> tuple[tuple[bool, Term, Term], ...]:
    """Both sides, each with whether it is a measure and nothing else."""
    left, right = comparison.left, comparison.right
    return (
        (isinstance(left, Operand), left, right),
        (isinstance(right, Operand), right, left),
    )


def _constant(term: Term) -> float | None:
    match term:
        case Number(value=value):
            return value
        case Binary(op=op, left=left, right=right):
            one, other = _constant(left), _constant(right)
            if one is None or other is None or (op == "/" and other == 0):
                return None
            return float(_ARITHMETIC[op](one, other))
    return None
