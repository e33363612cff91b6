"""Rules that a claim breaks, with their titles and with what answers each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from threatspec.claims import RULES, ClaimVerdict, RuleReading
from threatspec.schema import Verdict, Waiver

__all__ = ["RuleLine", "codes", "rule_lines", "rules_apart", "rules_in_short", "waiver_words"]


@dataclass(frozen=True, slots=True)
class RuleLine:
    """One broken rule as a table has it."""

    reading: RuleReading
    title: str

    @property
    def answer(self) -> str:
        """`open`, or what answers it."""
        found = self.reading
        if found.answer == "open":
            return "open"
        return f"scoped ({found.by})" if found.answer == "scoped" else f"waived by {found.by}"


def rule_lines(claim: ClaimVerdict) -> tuple[RuleLine, ...]:
    """Every broken rule, in the order of the rulebook."""
    return tuple(RuleLine(one, RULES[one.rule].title) for one in claim.rules)


def codes(claim: ClaimVerdict, answer: str) -> tuple[str, ...]:
    """Codes of the rules that are answered so, each once."""
    return tuple(dict.fromkeys(one.rule for one in claim.rules if one.answer == answer))


def rules_in_short(claim: ClaimVerdict) -> str:
    """`TS-R1 scoped; TS-R2 open`."""
    return "; ".join(dict.fromkeys(f"{one.rule} {one.answer}" for one in claim.rules))


def rules_apart(claim: ClaimVerdict) -> tuple[tuple[str, ...], tuple[RuleReading, ...]]:
    """The reasons that are no rules, and the rules that make a claim inadmissible."""
    if claim.verdict is not Verdict.INADMISSIBLE:
        return claim.reasons, ()
    told = {f"{one.rule}: {one.says}": one for one in claim.rules}
    others = tuple(reason for reason in claim.reasons if reason not in told)
    return others, tuple(told[reason] for reason in claim.reasons if reason in told)


def waiver_words(claim: ClaimVerdict, waivers: Sequence[Waiver]) -> str:
    """`TS-R6 by the lab until 2027-01-01; ...`; "" unless waivers are why it is supported."""
    known = {one.rule: f"{one.owner} until {one.expires}" for one in reversed(waivers)}
    found = {one.rule: known.get(one.rule, one.by) for one in claim.waived}
    return "; ".join(f"{rule} by {who}" for rule, who in found.items())
