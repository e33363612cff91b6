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
    Truth,
    decide,
    exit_code,
)
from threatspec.errors import ExitCode, ThreatspecError, did_you_mean
from threatspec.records import Arm
from threatspec.schema import Verdict

__all__ = ["Answers", "ClaimAnswer", "NotAsExpected", "expect"]

_MOST = 4
"""Readings and further reasons that a failure shows."""
_WORDS = {Truth.TRUE: "within", Truth.FALSE: "breaks", Truth.UNDECIDED: "undecided"}
_LABEL = 9


class NotAsExpected(AssertionError):
    """A verdict is not the one that was asked for; the text says why, and what would help."""

    def __init__(self, claim: ClaimVerdict, asked: Verdict) -> None:
        super().__init__(_text(claim, asked))
        self.verdict = claim.verdict.value
        why = f": {claim.reasons[0]}" if claim.reasons else ""
        self.brief = f"{claim.verdict.value}, expected {asked.value}{why}"


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

    def passes(self) -> ClaimVerdict:
        """As the claim's `expect` says, or SUPPORTED: the claim alone would exit 0."""
        __tracebackhide__ = True
        return self._require(self.verdict.expected, exit_code([self.verdict]) is ExitCode.OK)

    def is_supported(self) -> ClaimVerdict:
        """Every planned attack was run, was alive, and stayed within the bound."""
        __tracebackhide__ = True
        return self._is(Verdict.SUPPORTED)

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

    head = f"claim {claim.id} is {claim.verdict.value}, expected {asked.value}"
    lines = [f"  {label:<{_LABEL}} {one_line(text)}" for label, text in _facts(claim, asked)]
    return "\n".join([one_line(head), *lines])


def _facts(claim: ClaimVerdict, asked: Verdict) -> Iterator[tuple[str, str]]:
    yield "claim", claim.says
    if claim.because and asked is claim.expected:
        yield "expected", claim.because
    told = claim.witness.says if claim.witness else ""
    reasons = [reason for reason in claim.reasons if reason != told]
    yield from zip(["because"] + ["also"] * _MOST, reasons, strict=False)
    for text in _capped(list(_deciding(claim))):
        yield "reads", text
    if told:
        yield "witness", told
    yield "scope", claim.scope
    yield "next", claim.next_step


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
    return f"{where}: {_readings(cell.readings)} vs. `{claim.holds}`: {word}"


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
    return f"{reading.measure} {tally.yes}/{tally.units}{unknown} [{lower:.3f}, {upper:.3f}]"
