"""What is wrong between the parts of one spec: names, arms, thresholds. Reads plain data.

Plain data, not the validated model, so that these problems are reported together with those of
single fields; whatever has the wrong shape is skipped here, validation has complained already.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from threatspec.errors import Problem, did_you_mean
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

__all__ = ["FORMAT_VERSION", "semantic_problems"]

FORMAT_VERSION = 1
_PREDICATES = ("holds", "provided", "counts_if")
Bounds = tuple[float, float]


def semantic_problems(data: dict[str, Any], source: Source) -> list[Problem]:
    """Everything wrong between the parts of a claims file."""
    version = list(_version(data, source))
    if version and "threatspec" in data:
        return version
    claims = [*_claims(data, source)] if isinstance(data.get("claims"), list) else []
    return [*version, *_subjects(data, source), *claims]


def _version(data: dict[str, Any], source: Source) -> Iterator[Problem]:
    got = data.get("threatspec")
    if type(got) is int and got == FORMAT_VERSION:
        return
    rule = f"a claims file must say `threatspec: {FORMAT_VERSION}`, the format version"
    text = f"{rule}, but got {got!r}" if "threatspec" in data else f"{rule}, but has none"
    yield source.problem("TS-FORMAT-VERSION", text, ("threatspec",))


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
            text = f"claim ids must be unique, but {name!r} is also claims[{seen[name]}]"
            yield source.problem("TS-DUPLICATE-ID", text, (*place, "id"))
        elif isinstance(name, str):
            seen[name] = index
        yield from _adversary(claim, data, source, place)
        yield from _subject(claim, data, source, place)
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
    known, name = _known_subjects(data), claim.get("subject")
    if isinstance(name, str) and known and name not in known:
        text = f"unknown subject {name!r}{did_you_mean(name, list(known))}"
        yield source.problem("TS-UNKNOWN-SUBJECT", text, (*place, "subject"))
    elif "subject" not in claim and len(known) > 1:
        names = ", ".join(known)
        text = f"a claim must name its `subject` where there are several ({names}), but names none"
        yield source.problem("TS-UNKNOWN-SUBJECT", text, place, at="key")


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
    known, subject = data.get("measures"), _subject_of(claim, data)
    for operand in operands(predicate):
        if isinstance(known, dict) and operand.measure not in known:
            text = (
                f"unknown measure {operand.measure!r}{did_you_mean(operand.measure, list(known))}"
            )
            column = operand.column + (len(operand.arm) + 1 if operand.arm else 0)
            yield source.problem("TS-UNKNOWN-MEASURE", text, place, column=column)
        if (
            subject is not None
            and operand.arm not in ("", "before")
            and not subject.get(operand.arm)
        ):
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


def _subject_of(claim: dict[str, Any], data: dict[str, Any]) -> dict[str, Any] | None:
    known = _known_subjects(data)
    name = claim.get("subject", next(iter(known), None) if len(known) == 1 else None)
    subject = known.get(name) if isinstance(name, str) else None
    return subject if isinstance(subject, dict) else None


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
