"""What answers a broken rule: a scope that names exactly what is run, or a waiver in force."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from threatspec.claims._design import Design
from threatspec.claims._rule import RuleReading
from threatspec.claims._rulebook import RULES, Rule
from threatspec.schema import ClaimScope, Waiver

__all__ = ["answered", "limits_of"]

_RUN: Mapping[str, Callable[[Design], Any]] = {
    "replicates": lambda design: design.replicates[0] if len(set(design.replicates)) == 1 else None,
    "safeguard": lambda design: "checkpoint",
    "trainer": lambda design: design.trainers,
    "search": lambda design: "listed",
    "families": lambda design: design.kinds,
    "data": lambda design: "listed",
    "templates": lambda design: design.templates,
    "elicitations": lambda design: design.elicitations,
    "utility": lambda design: design.utility,
}
"""What is run, by field of a scope; nothing where no scope could name it."""


def limits_of(design: Design, readings: Iterable[RuleReading]) -> dict[str, Any]:
    """The entries of a scope that would answer what is open, in the order of the readings."""
    fields = (RULES[one.rule].scoped_by for one in readings if one.answer == "open")
    return {field: run for field in fields if field and (run := _RUN[field](design))}


def answered(design: Design, rule: Rule, says: str, at: datetime.date) -> RuleReading:
    """A broken rule, with what answers it on a day."""
    reading = RuleReading(rule=rule.code, kind=rule.kind, says=says, remedy=rule.remedy)
    scope = design.claim.scope
    if scope is not None and rule.scoped_by and _is_run(design, scope, rule.scoped_by):
        return reading.model_copy(update={"answer": "scoped", "by": _scope_words(scope, rule)})
    waiver = next((w for w in design.claim.waivers if w.rule == rule.code), None)
    if waiver is None or not rule.waivable:
        return reading
    if waiver.expired(at):
        late = f"{says}; the waiver of {waiver.owner} expired on {waiver.expires}"
        return reading.model_copy(update={"says": late})
    return reading.model_copy(update={"answer": "waived", "by": _waiver_words(waiver)})


def _is_run(design: Design, scope: ClaimScope, field: str) -> bool:
    """Whether a field of the scope names exactly what is run."""
    said, run = getattr(scope, field), _RUN[field](design)
    same = set(said) == set(run) if isinstance(said, tuple) and run else said == run
    return bool(run) and same


def _scope_words(scope: ClaimScope, rule: Rule) -> str:
    value = getattr(scope, rule.scoped_by)
    shown = f"[{', '.join(value)}]" if isinstance(value, tuple) else value
    return f"scope.{rule.scoped_by}: {shown}"


def _waiver_words(waiver: Waiver) -> str:
    return f"{waiver.owner}, until {waiver.expires}: {waiver.reason}"
