"""Assertions about verdicts: `expect(evidence).claim("id").is_supported()`.

Not `expect.py`: importing a module of that name would replace the function `threatspec.expect`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from threatspec import api
from threatspec.claims import (
    CampaignVerdict,
    CellReading,
    CellState,
    ClaimVerdict,
    Evidence,
    GateReading,
    MeasureReading,
    RuleReading,
    Truth,
    decide,
    exit_code,
)
from threatspec.errors import ExitCode, ThreatspecError, did_you_mean
from threatspec.records import Arm
from threatspec.schema import Verdict, operands, parse_predicate

__all__ = ["Answers", "ClaimAnswer", "NotAsExpected", "expect"]

_MOST = 4
"""Readings, rules, flags and further reasons that a failure shows."""
_WORDS = {Truth.TRUE: "within", Truth.FALSE: "breaks", Truth.UNDECIDED: "undecided"}
_LABEL = 9


class NotAsExpected(AssertionError):
    """A verdict is not the one that was asked for; the text says why, and what would help."""

    def __init__(self, claim: ClaimVerdict, asked: Verdict) -> None:
        super().__init__(_text(claim, asked))
        waived = _only_waived(claim, asked)
        self.threatspec_status = "WAIVED" if waived else claim.verdict.value
        """The verdict, or WAIVED where it is the right one but nobody accepted its waivers."""
        reasons = [f"{r.rule} is waived by {r.by}" for r in claim.waived] if waived else None
        why = [f": {reason}" for reason in (reasons or claim.reasons)[:1]]
        self.brief = "".join([_answer(claim, asked), *why])


def expect(evidence: api.Outcome | Evidence | CampaignVerdict | str | Path) -> Answers:
    """The answers of a campaign, to be asserted; a path is a results folder.

    Raises ThreatspecError if a folder holds no campaign or cannot be read.
    """
    match evidence:
        case api.Outcome():
            return Answers(evidence.verdict)
        case CampaignVerdict():
            return Answers(evidence)
        case Evidence():
            return Answers(decide(evidence))
    return Answers(api.verdict(evidence))


@dataclass(frozen=True, slots=True)
class Answers:
    """The verdicts of one campaign."""

    verdict: CampaignVerdict

    def claim(self, name: str) -> ClaimAnswer:
        """The answer to the claim with this id. Raises ThreatspecError if there is none."""
        found = {claim.id: claim for claim in self.verdict.claims}
        if name not in found:
            text = f"no claim {name!r} in {self.verdict.spec_file}{did_you_mean(name, list(found))}"
            raise ThreatspecError("TS-UNKNOWN-NAME", text, exit_code=ExitCode.USAGE)
        return ClaimAnswer(found[name])


@dataclass(frozen=True, slots=True)
class ClaimAnswer:
    """One verdict. Each method returns it, or raises NotAsExpected."""

    verdict: ClaimVerdict

    def passes(self, *, accept_waivers: bool = False) -> ClaimVerdict:
        """As the claim's `expect` says, or SUPPORTED: the claim alone would exit 0."""
        __tracebackhide__ = True
        code = exit_code([self.verdict], accept_waivers=accept_waivers)
        return self._require(self.verdict.expected, code is ExitCode.OK)

    def is_supported(self, *, accept_waivers: bool = False) -> ClaimVerdict:
        """Every planned attack was run, was alive, and stayed within the bound.

        Rules that are waived keep it from being that, unless waivers are accepted.
        """
        __tracebackhide__ = True
        found = self.verdict
        accepted = accept_waivers or not found.waived
        return self._require(Verdict.SUPPORTED, found.verdict is Verdict.SUPPORTED and accepted)

    def is_refuted(self) -> ClaimVerdict:
        """At least one attack inside the budget breaks the claim."""
        __tracebackhide__ = True
        return self._is(Verdict.REFUTED)

    def is_inconclusive(self) -> ClaimVerdict:
        """The evidence decides neither way."""
        __tracebackhide__ = True
        return self._is(Verdict.INCONCLUSIVE)

    def is_vacuous(self) -> ClaimVerdict:
        """The evidence could not have refuted the claim."""
        __tracebackhide__ = True
        return self._is(Verdict.VACUOUS)

    def is_inadmissible(self) -> ClaimVerdict:
        """The evidence may not be used for this claim."""
        __tracebackhide__ = True
        return self._is(Verdict.INADMISSIBLE)

    def _is(self, asked: Verdict) -> ClaimVerdict:
        __tracebackhide__ = True
        return self._require(asked, self.verdict.verdict is asked)

    def _require(self, asked: Verdict, met: bool) -> ClaimVerdict:
        __tracebackhide__ = True
        if not met:
            raise NotAsExpected(self.verdict, asked)
        return self.verdict


def _text(claim: ClaimVerdict, asked: Verdict) -> str:
    from threatspec.reports import one_line  # brings a terminal library, which success never needs

    head = f"claim {claim.id} is {_answer(claim, asked)}"
    lines = [f"  {label:<{_LABEL}} {one_line(text)}" for label, text in _facts(claim, asked)]
    return "\n".join([one_line(head), *lines])


def _only_waived(claim: ClaimVerdict, asked: Verdict) -> bool:
    return claim.verdict is asked and bool(claim.waived)


def _answer(claim: ClaimVerdict, asked: Verdict) -> str:
    """`REFUTED, expected SUPPORTED`."""
    if _only_waived(claim, asked):
        return f"{claim.verdict.value} with waivers, expected {asked.value} without"
    return f"{claim.verdict.value}, expected {asked.value}"


def _facts(claim: ClaimVerdict, asked: Verdict) -> Iterator[tuple[str, str]]:
    yield "claim", claim.says
    if claim.because and asked is claim.expected:
        yield "expected", claim.because
    told = claim.witness.says if claim.witness else ""
    broken = [rule for rule in claim.rules if rule.answer == "open"]
    known = {told, *(f"{rule.rule}: {rule.says}" for rule in broken)}
    reasons = [reason for reason in claim.reasons if reason not in known]
    yield from zip(["because"] + ["also"] * _MOST, reasons, strict=False)
    yield from _rules(claim, broken)
    for text in _capped([f"{flag.flag}: {flag.says}" for flag in claim.flags]):
        yield "flag", text
    for text in _capped(list(_deciding(claim))):
        yield "reads", text
    if told:
        yield "witness", told
    yield "scope", claim.scope
    yield "next", claim.next_step


def _rules(claim: ClaimVerdict, broken: list[RuleReading]) -> Iterator[tuple[str, str]]:
    """Open rules: all of them where they are the verdict, else as many as a glance takes."""
    if claim.verdict is Verdict.INADMISSIBLE:
        yield from ((rule.rule, rule.says) for rule in broken)
    else:
        yield from (("open", text) for text in _capped([f"{r.rule}: {r.says}" for r in broken]))
    for rule in claim.rules:
        if rule.answer == "waived":
            yield "waived", f"{rule.rule} by {rule.by}"


def _capped(texts: list[str]) -> list[str]:
    left = len(texts) - _MOST
    return texts if left <= 0 else [*texts[:_MOST], f"and {left} more"]


# which readings decided


def _deciding(claim: ClaimVerdict) -> Iterator[str]:
    """The witness; else what is not as support needs it; else, of a supported claim, all cells."""
    defended = [cell for cell in claim.cells if cell.arm is Arm.DEFENDED]
    if claim.witness:
        found = [cell for cell in defended if cell.cell == claim.witness.cell]
        yield from (_cell(claim, cell) for cell in found)
        return
    open_gates = [gate for gate in claim.gates if gate.truth is not Truth.TRUE]
    yield from map(_gate, open_gates)
    obstacles = [*_unbroken(claim), *(cell for cell in defended if not _supports(cell))]
    shown = obstacles if obstacles or open_gates else defended
    yield from (_cell(claim, cell) for cell in sorted(shown, key=lambda cell: cell.p))


def _supports(cell: CellReading) -> bool:
    return cell.state is CellState.DONE and {cell.counts, cell.holds} == {Truth.TRUE}


def _unbroken(claim: ClaimVerdict) -> list[CellReading]:
    """Cells of attacks that did not break the control, and that count nevertheless."""
    names = {control.procedure for control in claim.controls if control.breaks is not Truth.TRUE}
    names -= set(claim.dropped)
    return [cell for cell in claim.cells if cell.arm is Arm.CONTROL and cell.procedure in names]


def _cell(claim: ClaimVerdict, cell: CellReading) -> str:
    arm = "the control" if cell.arm is Arm.CONTROL else claim.subject
    alike = [other for other in claim.cells if other.procedure == cell.procedure]
    several = any(other.replicate for other in alike)
    which = f", replicate {cell.replicate}" if several else ""
    where = f"{cell.procedure}{which}, on {arm}"
    word = "collapsed" if cell.counts is Truth.FALSE else _WORDS[cell.holds]
    if cell.state is not CellState.DONE:
        word = f"{word} ({cell.state.value.replace('_', ' ')})"
    return f"{where}: {_readings(_decisive(claim, cell))} vs. `{claim.holds}`: {word}"


def _decisive(claim: ClaimVerdict, cell: CellReading) -> tuple[MeasureReading, ...]:
    """What `holds` reads; all readings of a cell of which it is open whether it counts."""
    names = {str(operand) for operand in operands(parse_predicate(claim.holds))}
    shown = tuple(one for one in cell.readings if one.measure in names)
    return shown if cell.counts is Truth.TRUE and shown else cell.readings


def _gate(gate: GateReading) -> str:
    truth = "undecided" if gate.truth is Truth.UNDECIDED else gate.truth.value
    where = f"{gate.name}, on {gate.subject}"
    return f"{where}: {_readings(gate.readings)} vs. `{gate.predicate}`: {truth}"


def _readings(readings: tuple[MeasureReading, ...]) -> str:
    return ", ".join(map(_reading, readings)) or "nothing read"


def _reading(reading: MeasureReading) -> str:
    """Bounds are rounded away from the estimate, so that no rounding crosses a threshold."""
    tally = reading.tally
    unknown = f" ({tally.unknown} unknown)" if tally.unknown else ""
    lower = math.floor(reading.lower * 1000 + 1e-9) / 1000
    upper = math.ceil(reading.upper * 1000 - 1e-9) / 1000
    return f"{reading.measure} {tally.yes} of {tally.units}{unknown} [{lower:.3f}, {upper:.3f}]"
