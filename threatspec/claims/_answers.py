"""What answers a broken rule: a scope that names exactly what is run, or a waiver in force."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping

from threatspec.claims._design import Design
from threatspec.claims._rule import RuleReading
from threatspec.claims._rulebook import Rule
from threatspec.schema import ClaimScope, Waiver

__all__ = ["answered"]

_SCOPES: Mapping[str, Callable[[Design, ClaimScope], bool]] = {
    "replicates": lambda design, scope: {scope.replicates} == set(design.replicates),
    "safeguard": lambda design, scope: scope.safeguard == "checkpoint",
    "trainer": lambda design, scope: set(scope.trainer or ()) == set(design.trainers),
    "search": lambda design, scope: scope.search == "listed",
    "families": lambda design, scope: set(scope.families or ()) == set(design.kinds),
    "data": lambda design, scope: scope.data == "listed",
    "templates": lambda design, scope: set(scope.templates or ()) == {design.serving.template},
    "elicitations": lambda design, scope: bool(scope.elicitations),
    "utility": lambda design, scope: (
        bool(design.utility) and set(scope.utility or ()) == set(design.utility)
    ),
}
"""Whether a field of the scope is what is run, by field."""


def answered(design: Design, rule: Rule, says: str, at: datetime.date) -> RuleReading:
    """A broken rule, with what answers it on a day."""
    reading = RuleReading(rule=rule.code, kind=rule.kind, says=says, remedy=rule.remedy)
    scope = design.claim.scope
    if scope is not None and rule.scoped_by and _SCOPES[rule.scoped_by](design, scope):
        return reading.model_copy(update={"answer": "scoped", "by": _scope_words(scope, rule)})
    waiver = next((w for w in design.claim.waivers if w.rule == rule.code), None)
    if waiver is None or not rule.waivable:
        return reading
    if waiver.expired(at):
        late = f"{says}; the waiver of {waiver.owner} expired on {waiver.expires}"
        return reading.model_copy(update={"says": late})
    return reading.model_copy(update={"answer": "waived", "by": _waiver_words(waiver)})


def _scope_words(scope: ClaimScope, rule: Rule) -> str:
    value = getattr(scope, rule.scoped_by)
    shown = f"[{', '.join(value)}]" if isinstance(value, tuple) else value
    return f"scope.{rule.scoped_by}: {shown}"


def _waiver_words(waiver: Waiver) -> str:
    return f"{waiver.owner}, until {waiver.expires}: {waiver.reason}"
