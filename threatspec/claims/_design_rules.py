"""Which rules of admissibility the design of a claim breaks, with what answers each."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Mapping

from threatspec.claims._answers import answered
from threatspec.claims._design import Design
from threatspec.claims._design_attacks import OF_ATTACKS
from threatspec.claims._design_measuring import FORESEEN, OF_MEASURING
from threatspec.claims._rule import RuleReading
from threatspec.claims._rulebook import RULES

__all__ = ["design_readings", "foreseen"]

_BROKEN: Mapping[str, Callable[[Design], Iterator[str]]] = {**OF_ATTACKS, **OF_MEASURING}


def design_readings(design: Design, at: datetime.date) -> tuple[RuleReading, ...]:
    """Every rule that the design breaks on a day, in the order of the rulebook."""
    found = {code: tuple(broken(design)) for code, broken in _BROKEN.items()}
    found["TS-R8e"] = tuple(_expired(design, at))
    return tuple(
        answered(design, rule, says, at)
        for code, rule in RULES.items()
        for says in found.get(code, ())
    )


def foreseen(design: Design) -> tuple[RuleReading, ...]:
    """Rules that only the run can meet, or prompts that are not there yet, and that are open."""
    return tuple(
        RuleReading(rule=code, kind=RULES[code].kind, says=says, remedy=RULES[code].remedy)
        for code, unmet in FORESEEN.items()
        for says in unmet(design)
    )


def _expired(design: Design, at: datetime.date) -> Iterator[str]:
    if design.governance is not None and design.governance.expired(at):
        yield f"the evidence expired on {design.governance.expires}"
