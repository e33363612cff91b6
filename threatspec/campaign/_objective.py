"""What a search maximises: how far a claim is broken, from what was read on `attack_dev`."""

from __future__ import annotations

from collections.abc import Callable

from threatspec.schema import Binary, Comparison, Number, Operand, Predicate, Term

__all__ = ["Rate", "breach", "margin"]

Rate = Callable[[Operand], float]
"""Share of prompts that are `yes`."""


def margin(predicate: Predicate, rate: Rate) -> float:
    """How far a predicate is met, in units of its measures; below 0 it is not.

    A conjunction is met as far as its least part.
    """
    return min(_met(comparison, rate) for comparison in predicate.comparisons)


def breach(predicate: Predicate, rate: Rate, quantifier: str) -> float:
    """How far an adversary gets: how far `holds` is missed, or met if the claim is `for: some`."""
    met = margin(predicate, rate)
    return met if quantifier == "some" else -met


def _met(comparison: Comparison, rate: Rate) -> float:
    left, right = _value(comparison.left, rate), _value(comparison.right, rate)
    return right - left if comparison.op in {"<", "<="} else left - right


def _value(term: Term, rate: Rate) -> float:
    match term:
        case Number(value=value):
            return value
        case Operand():
            return rate(term)
        case Binary(op=op, left=left, right=right):
            return _apply(op, _value(left, rate), _value(right, rate))


def _apply(op: str, left: float, right: float) -> float:
    match op:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
    return left / right if right else 0.0
