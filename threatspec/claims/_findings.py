"""Everything that was noticed about the evidence of a claim, before a verdict is made of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from threatspec.claims._answers import answered
from threatspec.claims._case import Case
from threatspec.claims._design import design_of_plan
from threatspec.claims._design_rules import design_readings
from threatspec.claims._flags import flags
from threatspec.claims._models import FlagEffect, FlagReading, SeriesReading
from threatspec.claims._rule import RuleKind, RuleReading
from threatspec.claims._rulebook import RULES
from threatspec.claims._run_rules import run_breaches
from threatspec.claims._series import read_series

__all__ = ["Findings", "find"]

_ALL = frozenset({"TS-R5d", "TS-R7", "TS-R8c", "TS-R8d"})
"""Rules of validity that make every cell of a claim unusable; others concern single cells."""


@dataclass(frozen=True, slots=True)
class Findings:
    """Broken rules, raised flags, and procedures as a whole."""

    rules: tuple[RuleReading, ...]
    flags: tuple[FlagReading, ...]
    series: tuple[SeriesReading, ...]

    @property
    def unusable(self) -> tuple[RuleReading, ...]:
        """Rules without which nothing may be used, in either direction."""
        return tuple(one for one in self.rules if one.rule in _ALL)

    @property
    def insufficient(self) -> tuple[RuleReading, ...]:
        """Rules that are broken and that nobody answers for."""
        return tuple(
            one for one in self.rules if one.answer == "open" and one.kind is not RuleKind.LIVENESS
        )

    @property
    def waived(self) -> tuple[RuleReading, ...]:
        """Rules that somebody answers for instead of meeting them."""
        return tuple(one for one in self.rules if one.answer == "waived")

    def raised(self, effect: FlagEffect) -> Iterator[str]:
        """What flags of an effect say."""
        return (one.says for one in self.flags if one.effect is effect)


def find(case: Case) -> Findings:
    """Read rules, flags and series of a claim."""
    return Findings(tuple(_rules(case)), flags(case), read_series(case))


def _rules(case: Case) -> Iterator[RuleReading]:
    """In the order of the rulebook; a rule that the design breaks is not said twice."""
    design, at = design_of_plan(case.view.evidence.plan, case.view.planned), case.view.evidence.at
    readings = list(design_readings(design, at))
    told = {one.rule for one in readings}
    for code, says in run_breaches(case):
        if code not in told:
            readings.append(answered(design, RULES[code], says, at))
    order = list(RULES)
    yield from sorted(readings, key=lambda one: order.index(one.rule))
