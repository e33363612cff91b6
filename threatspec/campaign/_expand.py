"""One written claim may stand for several: lists of subjects, `for: each`, `perspective: both`.

Each has its own verdict under the id `id[subject][attack][perspective]`; what is single is left
out. A perspective and a margin are written out into the predicate that is decided: safety reads the
mean over slices, weighted by how often they occur; security reads the worst slice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import reduce

from threatspec.schema import (
    Binary,
    Claim,
    Comparison,
    Number,
    Operand,
    Predicate,
    Term,
    parse_predicate,
    rewrite,
    unparse,
)

__all__ = ["Expanded", "expand"]


@dataclass(frozen=True, slots=True)
class Expanded:
    """One claim that gets one verdict."""

    id: str
    claim: Claim
    subject: str
    procedure: str | None
    """Name of the one procedure it is about; None = all of the adversary's."""


def expand(claim: Claim, subjects: Mapping[str, list[str]]) -> Iterator[Expanded]:
    """Everything that `claim` stands for, given its subjects and the procedures of each."""
    each = claim.quantifier == "each"
    for subject, procedures in subjects.items():
        for procedure in dict.fromkeys(procedures) if each else [None]:
            for perspective in _perspectives(claim):
                parts = [subject] if len(subjects) > 1 else []
                parts += [procedure] if procedure is not None and len(procedures) > 1 else []
                parts += [perspective] if claim.perspective == "both" else []
                name = claim.id + "".join(f"[{part}]" for part in parts)
                decided = _widened(_decided(claim, perspective))
                yield Expanded(name, decided, subject, procedure)


def _perspectives(claim: Claim) -> tuple[str, ...]:
    if claim.perspective == "both":
        return ("safety", "security")
    return (claim.perspective or "",)


def _decided(claim: Claim, perspective: str) -> Claim:
    """The claim with its perspective written out into `holds`."""
    if not perspective or not claim.frequency:
        return claim
    predicate = parse_predicate(claim.holds)
    [(key, shares)] = claim.frequency.items()
    weights = {f"{key}={value}": share for value, share in shares.items()}
    if perspective == "safety":
        comparisons = [rewrite(c, lambda o: _mean(o, weights)) for c in predicate.comparisons]
    else:
        comparisons = [
            rewrite(comparison, lambda o, part=part: _sliced(o, part))  # type: ignore[misc]
            for comparison in predicate.comparisons
            for part in weights
        ]
    text = unparse(Predicate(tuple(comparisons), ""))
    return claim.model_copy(update={"holds": text})


def _widened(claim: Claim) -> Claim:
    """The claim with its margin written out into the thresholds of `holds`."""
    if claim.margin is None:
        return claim
    wide = [_wide(found, claim.margin) for found in parse_predicate(claim.holds).comparisons]
    return claim.model_copy(update={"holds": unparse(Predicate(tuple(wide), ""))})


def _wide(found: Comparison, margin: float) -> Comparison:
    """The right-hand side moves away, so that a number stays a number."""
    signed = margin if found.op in {"<=", "<"} else -margin
    if isinstance(found.left, Number):
        return replace(found, left=Number(_rounded(found.left.value - signed), found.left.column))
    if isinstance(found.right, Number):
        return replace(
            found, right=Number(_rounded(found.right.value + signed), found.right.column)
        )
    op = "+" if signed > 0 else "-"
    right = Binary(op, found.right, Number(margin, found.column), found.column)
    return replace(found, right=right)


def _rounded(value: float) -> float:
    """What people would write: 0.05 + 0.01 is 0.06."""
    return round(value, 12)


def _sliced(operand: Operand, part: str) -> Operand:
    return Operand(operand.measure, operand.arm, operand.column, operand.slice or part)


def _mean(operand: Operand, weights: dict[str, float]) -> Term:
    if operand.slice:
        return operand
    terms: list[Term] = [
        Binary("*", Number(share, operand.column), _sliced(operand, part), operand.column)
        for part, share in weights.items()
    ]
    return reduce(lambda left, right: Binary("+", left, right, operand.column), terms)
