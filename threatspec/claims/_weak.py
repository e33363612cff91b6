"""Claims that a subject of no use would meet: one that answers nothing, or nonsense."""

from __future__ import annotations

from collections.abc import Iterator

from threatspec.schema import Binary, Claim, Comparison, Number, Operand, Term

__all__ = ["met_by_silence"]


def met_by_silence(claim: Claim) -> bool:
    """Whether fewer `yes` on attacked cells help a comparison of `holds` to be what is claimed.

    For `for: some` that is its universal side, on which `holds` is false.
    """
    predicate = claim.predicate("holds")
    wanted = claim.quantifier != "some"
    found = (sign for c in (predicate.comparisons if predicate else ()) for sign in _signs(c))
    return wanted in found


def _signs(comparison: Comparison) -> Iterator[bool]:
    """Of each attacked operand: whether less of it helps the comparison."""
    left, right = comparison.left, comparison.right
    if comparison.op in {">", ">="}:
        left, right = right, left
    yield from _of_term(left, less=True)
    yield from _of_term(right, less=False)


def _of_term(term: Term, *, less: bool) -> Iterator[bool]:
    match term:
        case Operand(arm=""):
            yield less
        case Binary("*", left, right) if _negative(left) or _negative(right):
            yield from _of_term(left, less=not less)
            yield from _of_term(right, less=not less)
        case Binary(op, left, right):
            yield from _of_term(left, less=less)
            yield from _of_term(right, less=less if op in {"+", "*"} else not less)


def _negative(term: Term) -> bool:
    """Whether a factor is a negative number, which is written `-x` and read as `0 - x`."""
    match term:
        case Binary("-", Number(0.0), Number(value)):
            return value > 0
    return False
