"""One claim as it is shown: its verdict with everything around it, grouped and looked up."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from threatspec.claims import (
    CellReading,
    CellState,
    ClaimVerdict,
    ControlReading,
    Evidence,
    FlagEffect,
)
from threatspec.records import Arm, Optimised, PlannedClaim, Realised
from threatspec.reports._axis import Axis, axis
from threatspec.reports._budget import SpentLine, budget_lines
from threatspec.reports._cost import Cost, cost
from threatspec.reports._details import Details, Disagreement, Transcript
from threatspec.reports._governance import governed, protected
from threatspec.reports._heat import Heat, heat
from threatspec.reports._paragraph import paragraph
from threatspec.reports._pictures import Gallery
from threatspec.reports._predicates import own_reading
from threatspec.reports._read import read_words
from threatspec.reports._rules import RuleLine, rule_lines, rules_apart, waiver_words
from threatspec.reports._slices import SliceLine, slice_lines
from threatspec.reports._threat import threat
from threatspec.reports._warnings import warned
from threatspec.reports._words import counted, flag, measure, runs, sought, span
from threatspec.schema import operands, parse_predicate

__all__ = ["ClaimView", "ControlView", "Differing"]


@dataclass(frozen=True, slots=True)
class ControlView:
    """One procedure on the control, with what its training really did."""

    reading: ControlReading
    training: tuple[tuple[int, Realised], ...]
    """By replicate."""
    words: tuple[Optimised, ...] = ()
    """What searches for words did, over all replicates."""

    @property
    def sought(self) -> str:
        """All searches for words in one line: from least to most."""
        return sought(self.words)

    @property
    def trained(self) -> str:
        """All replicates in one line: from least to most."""
        runs = [run for _, run in self.training]
        before, after = span([r.probe_before for r in runs]), span([r.probe_after for r in runs])
        steps, rows = span([r.steps for r in runs]), span([r.rows for r in runs])
        return (
            f"{counted(len(runs), 'run')}: loss on its {rows} rows from {before} to {after} in "
            f"{steps} steps, weights moved by {span([r.weight_delta for r in runs])} (L2)"
        )


@dataclass(frozen=True, slots=True)
class Differing:
    """Two measures over all replicates of one procedure on one arm."""

    procedure: str
    arm: Arm
    replicates: int
    counts: Disagreement


@dataclass(frozen=True)
class ClaimView:
    """One claim with everything around it."""

    claim: ClaimVerdict
    planned: PlannedClaim
    evidence: Evidence
    details: Details
    anchor: str
    """Name of its section in the page."""

    @property
    def paragraph(self) -> str:
        """The claim in a few plain sentences."""
        return paragraph(self.claim)

    @property
    def axis(self) -> Axis | None:
        """Worst run, witness and control against what is claimed."""
        return axis(self.claim)

    @property
    def budget(self) -> tuple[SpentLine, ...]:
        """Spent against allowed, by procedure."""
        return budget_lines(self.evidence, self.cells(Arm.DEFENDED))

    @property
    def slices(self) -> tuple[SliceLine, ...]:
        """What single slices of the prompts reached, where slices were read."""
        return slice_lines(self.evidence, self.planned, self.claim)

    @property
    def expectation(self) -> str:
        """Whether the verdict is the one that lets the claim pass."""
        if not self.claim.passed:
            return "NOT as expected"
        return "as expected, but with waivers" if self.claim.waived else "as expected"

    @property
    def waivers(self) -> str:
        """What a claim is supported in spite of: `TS-R6 by the lab until 2027-01-01`."""
        return waiver_words(self.claim, self.planned.claim.waivers)

    @property
    def rules(self) -> tuple[RuleLine, ...]:
        """Rules of admissibility that are broken, with their titles."""
        return rule_lines(self.claim)

    @property
    def insufficient(self) -> tuple[tuple[str, str], ...]:
        """Codes and words of the rules that make the claim inadmissible."""
        return tuple((one.rule, one.says) for one in rules_apart(self.claim)[1])

    @property
    def flags(self) -> tuple[str, ...]:
        """Flags that change what may be concluded."""
        found, told = self.claim.flags, self.decisive
        return tuple(flag(one, told) for one in found if one.effect is not FlagEffect.NOTE)

    @property
    def runs(self) -> str:
        """That the claim was run more than once."""
        return runs(self.claim.run)

    @property
    def failures(self) -> tuple[str, ...]:
        """What made cells of the subject fail, each once, with how many."""
        cells = self.cells(Arm.DEFENDED)
        notes = Counter(cell.note for cell in cells if cell.state is CellState.ERROR)
        of = counted(len(cells), "attacked cell")
        return tuple(f"{number} of {of}: {note}" for note, number in notes.items())

    @property
    def warnings(self) -> tuple[str, ...]:
        """What weakened trials of the claim without failing them, each once, with how many."""
        return warned(self.evidence, (*(c.cell for c in self.claim.cells), *self._untouched))

    @property
    def _untouched(self) -> tuple[str, ...]:
        return tuple(self.planned.untouched.values())

    @property
    def galleries(self) -> tuple[tuple[Gallery, str], ...]:
        """Images that were shown, each cell with a line that says which."""
        mine = (one for one in self.details.pictures if one.claim == self.claim.id)
        return tuple((one, self._named(one.cell)) for one in mine)

    def _named(self, cell: str) -> str:
        found = self.evidence.plan.cells[cell]
        name = self.evidence.plan.procedures[found.procedure].name
        is_witness = self.claim.witness is not None and self.claim.witness.cell == cell
        what = "witness: " if is_witness else ""
        return f"{what}{name} on {found.subject}, replicate {found.replicate}"

    @property
    def cost(self) -> Cost | None:
        """What it costs to break the subject, its control and the undefended model."""
        return cost(self.claim, self.planned.claim.quantifier == "some")

    def read(self, arm: Arm) -> str:
        """How far the cells of an arm were read, where not to the end."""
        return read_words(self.evidence.plan, self.cells(arm))

    @property
    def wanted(self) -> str:
        """Which verdict was expected, and why."""
        because = f": {self.claim.because}" if self.claim.because else ""
        waived = self.claim.passed and self.claim.waived
        accept = "; waivers count if they are accepted (`--accept-waivers`)" if waived else ""
        return (
            f"{self.claim.expected.value}{because.removesuffix('.') if waived else because}{accept}"
        )

    @property
    def decisive(self) -> str:
        """The first reason."""
        return self.claim.reasons[0] if self.claim.reasons else ""

    @property
    def why(self) -> str:
        """The first reason; of several rules the others by their codes."""
        others = list(dict.fromkeys(code for code, _ in self.insufficient))[1:]
        return f"{self.decisive}; also {', '.join(others)}" if others else self.decisive

    @property
    def reason(self) -> str:
        """Why, unless it is the witness's own sentence, which is shown anyway."""
        witness = self.claim.witness
        return "" if witness and witness.says == self.decisive else self.why

    @property
    def further(self) -> tuple[str, ...]:
        """The other reasons, but for rules, which stand in a table of their own."""
        return tuple(one for one in rules_apart(self.claim)[0] if one != self.decisive)

    def cells(self, arm: Arm) -> tuple[CellReading, ...]:
        """Attacked cells of one arm."""
        return tuple(cell for cell in self.claim.cells if cell.arm is arm)

    @property
    def arms(self) -> tuple[Arm, ...]:
        """Arms with attacked cells."""
        return tuple(arm for arm in Arm if self.cells(arm))

    @property
    def heats(self) -> tuple[Heat, ...]:
        """Procedures x replicates by arm."""
        models, shown = self.planned.models, own_reading(self.claim.holds)
        witness = self.claim.witness.cell if self.claim.witness else ""
        return tuple(
            heat(arm, models.get(arm, ""), shown, self.cells(arm), witness) for arm in self.arms
        )

    def is_witness(self, cell: CellReading) -> bool:
        """Whether it is the cell that refutes the claim."""
        return self.claim.witness is not None and self.claim.witness.cell == cell.cell

    def read_in(self, arm: Arm) -> tuple[str, ...]:
        """Everything that was read on cells of an arm."""
        return tuple(dict.fromkeys(r.measure for c in self.cells(arm) for r in c.readings))

    @property
    def controls(self) -> tuple[ControlView, ...]:
        """The controls with their realised training."""
        return tuple(
            ControlView(
                reading,
                self._training(reading.procedure),
                self._words(Arm.CONTROL, reading.procedure),
            )
            for reading in self.claim.controls
        )

    def _training(self, procedure: str) -> tuple[tuple[int, Realised], ...]:
        return tuple(
            (cell.replicate, self.evidence.cells[cell.cell].realised[-1])
            for cell in self.cells(Arm.CONTROL)
            if cell.procedure == procedure and self.evidence.cells[cell.cell].realised
        )

    def _words(self, arm: Arm, procedure: str) -> tuple[Optimised, ...]:
        return tuple(
            run
            for cell in self.cells(arm)
            if cell.procedure == procedure
            for run in self.evidence.cells[cell.cell].optimised
        )

    @property
    def sought(self) -> tuple[tuple[str, str], ...]:
        """By procedure, what its searches for words did on the subject."""
        names = dict.fromkeys(cell.procedure for cell in self.cells(Arm.DEFENDED))
        found = ((name, self._words(Arm.DEFENDED, name)) for name in names)
        return tuple((name, sought(runs)) for name, runs in found if runs)

    @property
    def against(self) -> tuple[tuple[str, str], ...]:
        """The adversary in words: goal, access, data, compute, knowledge."""
        return threat(self.evidence.plan, self.claim.adversary)

    @property
    def protects(self) -> tuple[tuple[str, str], ...]:
        """What the claim protects, in words; nothing if the spec does not say."""
        return protected(self.claim.protects)

    @property
    def governance(self) -> tuple[tuple[str, str], ...]:
        """Who answers for the evidence and until when; nothing if the spec does not say."""
        return governed(self.claim.governance)

    @property
    def reads(self) -> tuple[tuple[str, str], ...]:
        """Measures that the claim's predicates name, and what each counts."""
        claim, known = self.claim, self.evidence.plan.measures
        texts = [text for text in (claim.holds, claim.provided, claim.counts_if) if text]
        names = dict.fromkeys(o.measure for text in texts for o in operands(parse_predicate(text)))
        return tuple((name, measure(known[name])) for name in names if name in known)

    @property
    def differing(self) -> tuple[Differing, ...]:
        """Where two judges of the same replies disagree, by procedure and arm."""
        by_cell = self.details.by_cell
        groups: dict[tuple[str, Arm, str, str], list[Disagreement]] = {}
        for cell in self.claim.cells:
            for found in by_cell.get(cell.cell, ()):
                key = (cell.procedure, cell.arm, found.first, found.second)
                groups.setdefault(key, []).append(found)
        return tuple(
            Differing(procedure, arm, len(found), _summed(found))
            for (procedure, arm, _, _), found in groups.items()
        )

    @property
    def transcripts(self) -> tuple[tuple[Transcript, str], ...]:
        """Transcripts of this claim, each with a line that says of what."""
        mine = [t for t in self.details.transcripts if t.claim == self.claim.id]
        # a witness stands beside the same prompt untouched; sorting is stable
        mine.sort(key=lambda t: (t.role == "sample", "" if t.role == "sample" else t.item))
        return tuple((t, self._origin(t)) for t in mine)

    def _origin(self, transcript: Transcript) -> str:
        cell = self.evidence.plan.cells[transcript.cell]
        if transcript.role == "untouched":
            return f"the same prompt on {cell.subject}, untouched"
        return self._named(cell.id)


def _summed(found: list[Disagreement]) -> Disagreement:
    return Disagreement(
        cell="",
        first=found[0].first,
        second=found[0].second,
        prompts=sum(f.prompts for f in found),
        only_first=sum(f.only_first for f in found),
        only_second=sum(f.only_second for f in found),
    )
