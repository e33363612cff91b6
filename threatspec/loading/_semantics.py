"""What is wrong between the parts of one spec: names, arms, thresholds. Reads plain data.

Plain data, not the validated model, so that these problems are reported together with those of
single fields; whatever has the wrong shape is skipped here, validation has complained already.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from threatspec.errors import Problem, did_you_mean
from threatspec.loading._claim_scope import scope_problems
from threatspec.loading._marks import Place, Source
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

__all__ = ["semantic_problems"]

_PREDICATES = ("holds", "provided", "counts_if")
Bounds = tuple[float, float]


def semantic_problems(data: dict[str, Any], source: Source) -> list[Problem]:
    """Everything wrong between the parts of a claims file."""
    claims = [*_claims(data, source)] if isinstance(data.get("claims"), list) else []
    return [*_subjects(data, source), *claims]


def _subjects(data: dict[str, Any], source: Source) -> Iterator[Problem]:
    rule = "a claims file must have one of `subject` and `subjects`"
    if "subject" in data and "subjects" in data:
        yield source.problem("TS-WRONG-TYPE", f"{rule}, but has both", ("subjects",), at="key")
    elif not data.get("subject") and not data.get("subjects"):
        place = next(((key,) for key in ("subject", "subjects") if key in data), ())
        yield source.problem("TS-MISSING-FIELD", f"{rule}, but has none", place, at="key")


def _claims(data: dict[str, Any], source: Source) -> Iterator[Problem]:
    seen: dict[str, int] = {}
    for index, claim in enumerate(data["claims"]):
        if not isinstance(claim, dict):
            continue
        place: Place = ("claims", index)
        name = claim.get("id")
        if isinstance(name, str) and name in seen:
            first = source.where(("claims", seen[name], "id"))
            text = f"claim ids must be unique, but {name!r} is also the id of the claim at {first}"
            yield source.problem("TS-DUPLICATE-ID", text, (*place, "id"))
        elif isinstance(name, str):
            seen[name] = index
        yield from _adversary(claim, data, source, place)
        yield from _subject(claim, data, source, place)
        yield from scope_problems(claim, data, source, place)
        for which in _PREDICATES:
            yield from _predicate(claim, which, data, source, (*place, which))


def _adversary(
    claim: dict[str, Any], data: dict[str, Any], source: Source, place: Place
) -> Iterator[Problem]:
    known, name = data.get("adversaries"), claim.get("against")
    if isinstance(known, dict) and isinstance(name, str) and name not in known:
        text = f"unknown adversary {name!r}{did_you_mean(name, list(known))}"
        yield source.problem("TS-UNKNOWN-ADVERSARY", text, (*place, "against"))


def _subject(
    claim: dict[str, Any], data: dict[str, Any], source: Source, place: Place
) -> Iterator[Problem]:
    known = _known_subjects(data)
    for name in _named_subjects(claim):
        if known and name not in known:
            text = f"unknown subject {name!r}{did_you_mean(name, list(known))}"
            yield source.problem("TS-UNKNOWN-SUBJECT", text, (*place, "subject"))


def _named_subjects(claim: dict[str, Any]) -> list[str]:
    """Names that a claim lists as its subjects; none means all."""
    named = claim.get("subject", [])
    listed = named if isinstance(named, list) else [named]
    return [name for name in listed if isinstance(name, str)]


def _known_subjects(data: dict[str, Any]) -> dict[str, Any]:
    if "subject" in data:
        return {"subject": data["subject"]}
    subjects = data.get("subjects")
    return subjects if isinstance(subjects, dict) else {}


def _predicate(
    claim: dict[str, Any], which: str, data: dict[str, Any], source: Source, place: Place
) -> Iterator[Problem]:
    predicate = _parsed(claim.get(which))
    if predicate is None:
        return
    known, subjects = data.get("measures"), _subjects_of(claim, data)
    for operand in operands(predicate):
        if isinstance(known, dict) and operand.measure not in known:
            text = (
                f"unknown measure {operand.measure!r}{did_you_mean(operand.measure, list(known))}"
            )
            column = operand.column + (len(operand.arm) + 1 if operand.arm else 0)
            yield source.problem("TS-UNKNOWN-MEASURE", text, place, column=column)
        needed = operand.arm not in ("", "before")
        if needed and not all(subject.get(operand.arm) for subject in subjects):
            text = f"{operand} reads the arm `{operand.arm}`, but the claim's subject has none"
            yield source.problem("TS-UNKNOWN-SUBJECT", text, place, column=operand.column)
    for comparison in predicate.comparisons:
        found = _verdict_by_arithmetic(comparison)
        if found:
            text = f"{which} must depend on what is measured, but {found}"
            column = comparison.column
            yield source.problem("TS-THRESHOLD-RANGE", text, place, column=column)


def _parsed(text: Any) -> Predicate | None:
    try:
        return parse_predicate(text) if isinstance(text, str) else None
    except PredicateError:
        return None


def _subjects_of(claim: dict[str, Any], data: dict[str, Any]) -> list[dict[str, Any]]:
    known = _known_subjects(data)
    found = [known.get(name) for name in _named_subjects(claim) or known]
    return [subject for subject in found if isinstance(subject, dict)]


def _verdict_by_arithmetic(comparison: Comparison) -> str:
    """Why ``comparison`` says nothing about what is measured; "" if it does say something."""
    if not any(operands(comparison)):
        return "this comparison reads no measure"
    if _divides_by_zero(comparison.left) or _divides_by_zero(comparison.right):
        return "this comparison divides by zero"
    left, right = _bounds(comparison.left), _bounds(comparison.right)
    if left is None or right is None:
        return ""
    if comparison.op in (">", ">="):
        left, right = right, left
    strict = comparison.op in ("<", ">")
    if left[1] < right[0] or (left[1] == right[0] and not strict):
        return "measures lie in [0, 1], so this comparison is always true"
    if left[0] > right[1] or (left[0] == right[1] and strict):
        return "measures lie in [0, 1], so this comparison is never true"
    return ""


def _divides_by_zero(term: Term) -> bool:
    if not isinstance(term, Binary):
        return False
    here = term.op == "/" and _bounds(term.right) == (0.0, 0.0)
    return here or _divides_by_zero(term.left) or _divides_by_zero(term.right)


def _bounds(term: Term) -> Bounds | None:
    """Least and greatest value of ``term`` with operands anywhere in [0, 1]; None = unknown."""
    if isinstance(term, Number):
        return (term.value, term.value)
    if isinstance(term, Operand):
        return (0.0, 1.0)
    left, right = _bounds(term.left), _bounds(term.right)
    if left is None or right is None or (term.op == "/" and right[0] <= 0.0 <= right[1]):
        return None
    corners = [_apply(term.op, a, b) for a in left for b in right]
    return (min(corners), max(corners)) if all(map(math.isfinite, corners)) else None


def _apply(op: str, a: float, b: float) -> float:
    if op == "/":
        return a / b
    return a + b if op == "+" else a - b if op == "-" else a * b
