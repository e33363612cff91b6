"""Predicates on counts: true, false or undecided at a level, and exact p-values by inversion.

Each of the m distinct operands of a comparison gets one-sided bounds at alpha / m; what follows for
the comparison comes from interval arithmetic. `docs/design/verdicts.md` has the reasons.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

from threatspec.claims._models import Truth
from threatspec.claims._tally import Tally
from threatspec.schema import Binary, Comparison, Number, Operand, Predicate, Term, operands
from threatspec.statistics import Interval

__all__ = [
    "Bound",
    "Lookup",
    "arithmetic",
    "bound_of",
    "broken_at",
    "could_be_true",
    "distinct_operands",
    "evaluate",
    "least_refutation_p",
    "least_support_p",
    "refutation_p",
    "support_p",
]

Lookup = Callable[[Operand], Tally | None]
"""What was counted for an operand; None if nothing is known of it."""
Tallies = tuple[Tally | None, ...]

_CACHE = 1 << 14
_LEAST_P = 1e-12
_MOST_P = 0.5
_HALVINGS = 36
_MOST_UNKNOWN = 6


@dataclass(frozen=True, slots=True)
class Bound:
    """A predicate of the form `measure <= number` (or `>=`, then `at_most` is False)."""

    measure: str
    """The reading: `asr`, or `asr[category=fire]`."""
    threshold: float
    at_most: bool


def bound_of(predicate: Predicate) -> Bound | None:
    """The bound that `predicate` is, or None if it is anything more than one."""
    if len(predicate.comparisons) != 1:
        return None
    match predicate.comparisons[0]:
        case Comparison(op=op, left=Operand(arm="") as operand, right=Number(value)):
            return Bound(operand.reading, value, op in {"<=", "<"})
        case Comparison(op=op, left=Number(value), right=Operand(arm="") as operand):
            return Bound(operand.reading, value, op in {">=", ">"})
    return None


def distinct_operands(node: Predicate | Comparison) -> tuple[Operand, ...]:
    """Operands in order of appearance; one that occurs twice is listed once."""
    return tuple({str(found): found for found in operands(node)}.values())


def evaluate(predicate: Predicate, lookup: Lookup, alpha: float) -> Truth:
    """Three-valued `and` over the comparisons, each at level `alpha`."""
    truths = [_truth(c, _tallies(c, lookup), alpha) for c in predicate.comparisons]
    if Truth.FALSE in truths:
        return Truth.FALSE
    return Truth.UNDECIDED if Truth.UNDECIDED in truths else Truth.TRUE


def arithmetic(predicate: Predicate) -> Truth:
    """What can be said before anything is measured: not UNDECIDED means that nothing is claimed."""
    return evaluate(predicate, lambda _: None, _MOST_P)


def broken_at(predicate: Predicate, lookup: Lookup, alpha: float) -> bool:
    """Whether `refutation_p` is at most `alpha`, without working it out."""
    level = alpha / len(predicate.comparisons)
    found = (_truth(c, _tallies(c, lookup), level) for c in predicate.comparisons)
    return any(truth is Truth.FALSE for truth in found)


def refutation_p(predicate: Predicate, lookup: Lookup) -> float:
    """The smallest level at which a comparison is false, times the number of comparisons.

    Never less than 1e-12; 1 where nothing speaks against the predicate.
    """
    return _joint(predicate, [_p(c, _tallies(c, lookup)) for c in predicate.comparisons])


def support_p(predicate: Predicate, lookup: Lookup) -> float:
    """The smallest level at which every comparison is true (intersection-union test).

    Never less than 1e-12; 1 where nothing speaks for the predicate.
    """
    return max(_p(c, _tallies(c, lookup), Truth.TRUE) for c in predicate.comparisons)


def least_support_p(predicate: Predicate, lookup: Lookup) -> float:
    """The same if everything unknown turned out as well for the predicate as it could."""
    return max(_least(c, _tallies(c, lookup), Truth.TRUE) for c in predicate.comparisons)


def least_refutation_p(predicate: Predicate, lookup: Lookup) -> float:
    """The same if everything unknown turned out as bad for the predicate as it could."""
    found = [_least(c, _tallies(c, lookup), Truth.FALSE) for c in predicate.comparisons]
    return _joint(predicate, found)


def could_be_true(predicate: Predicate, lookup: Lookup, alpha: float) -> bool:
    """Whether the predicate would be true if everything unknown turned out in its favour."""
    return all(
        not _resolvable(tallies := _tallies(c, lookup))
        or any(_truth(c, outcome, alpha) is Truth.TRUE for outcome in _outcomes(tallies))
        for c in predicate.comparisons
    )


def _joint(predicate: Predicate, p_values: list[float]) -> float:
    return min(1.0, len(predicate.comparisons) * min(p_values))


def _least(comparison: Comparison, tallies: Tallies, wanted: Truth) -> float:
    if not _resolvable(tallies):
        return _LEAST_P
    return min(_p(comparison, outcome, wanted) for outcome in _outcomes(tallies))


def _tallies(comparison: Comparison, lookup: Lookup) -> Tallies:
    return tuple(lookup(operand) for operand in distinct_operands(comparison))


def _resolvable(tallies: Tallies) -> bool:
    """Whether the outcomes of the unknown are few enough to be gone through."""
    return sum(1 for tally in tallies if tally and tally.unknown) <= _MOST_UNKNOWN


def _outcomes(tallies: Tallies) -> Iterator[Tallies]:
    """Every operand's unknown units all yes or all no."""
    return product(*(_resolved(tally) for tally in tallies))


def _resolved(tally: Tally | None) -> Tallies:
    if tally is None or not tally.unknown:
        return (tally,)
    least = tuple((low, low) for low, _ in tally.scores)
    most = tuple((high, high) for _, high in tally.scores)
    return (
        tally.model_copy(update={"unknown": 0, "scores": least}),
        tally.model_copy(update={"yes": tally.yes + tally.unknown, "unknown": 0, "scores": most}),
    )


@lru_cache(maxsize=_CACHE)
def _p(comparison: Comparison, tallies: Tallies, wanted: Truth = Truth.FALSE) -> float:
    """By formula, or by bisection on the logarithm of the level: once decided, a comparison stays
    so above."""
    exact = _by_formula(comparison, tallies, wanted)
    if exact is not None:
        return 1.0 if exact > _MOST_P else max(_LEAST_P, exact)
    if _compare(comparison, tallies, _MOST_P) is not wanted:
        return 1.0
    if _compare(comparison, tallies, _LEAST_P) is wanted:
        return _LEAST_P
    low, high = math.log(_LEAST_P), math.log(_MOST_P)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        decided = _compare(comparison, tallies, math.exp(middle)) is wanted
        low, high = (low, middle) if decided else (middle, high)
    return math.exp(high)


def _by_formula(comparison: Comparison, tallies: Tallies, wanted: Truth) -> float | None:
    """The p-value of one measure against a number; None for anything more."""
    match comparison:
        case Comparison(op=op, left=Operand(), right=Number(value)):
            at_most = op in {"<=", "<"}
        case Comparison(op=op, left=Number(value), right=Operand()):
            at_most = op in {">=", ">"}
        case _:
            return None
    [tally] = tallies
    if tally is None:
        return None
    above = at_most == (wanted is Truth.FALSE)
    return tally.p_above(value) if above else tally.p_below(value)


@lru_cache(maxsize=_CACHE)
def _truth(comparison: Comparison, tallies: Tallies, alpha: float) -> Truth:
    """At a level; one measure against a number needs no bounds for that."""
    for wanted in (Truth.FALSE, Truth.TRUE):
        exact = _by_formula(comparison, tallies, wanted)
        if exact is None:
            return _compare(comparison, tallies, alpha)
        if exact <= alpha:
            return wanted
    return Truth.UNDECIDED


def _compare(comparison: Comparison, tallies: Tallies, alpha: float) -> Truth:
    level = alpha / max(1, len(tallies))
    bounds = {
        str(operand): tally.bounds(level) if tally else Interval(0.0, 1.0)
        for operand, tally in zip(distinct_operands(comparison), tallies, strict=True)
    }
    left, right = _interval(comparison.left, bounds), _interval(comparison.right, bounds)
    if comparison.op in {">=", ">"}:
        left, right = right, left
    return _less(left, right, strict=comparison.op in {"<", ">"})


def _less(left: Interval, right: Interval, *, strict: bool) -> Truth:
    """`left <= right` (or `<`) for all numbers of the intervals, for none, or for some."""
    if left.upper < right.lower or (not strict and left.upper == right.lower):
        return Truth.TRUE
    if left.lower > right.upper or (strict and left.lower == right.upper):
        return Truth.FALSE
    return Truth.UNDECIDED


def _interval(term: Term, bounds: dict[str, Interval]) -> Interval:
    match term:
        case Number(value):
            return Interval.point(value)
        case Operand():
            return bounds[str(term)]
        case Binary(op, left, right):
            return _arithmetic(op, _interval(left, bounds), _interval(right, bounds))


def _arithmetic(op: str, left: Interval, right: Interval) -> Interval:
    match op:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
        case _:
            return left / right
