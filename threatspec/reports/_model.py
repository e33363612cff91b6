"""The one model that all renderers show: who was the adversary, what was read, what it cost.

Built from evidence and verdict; it groups and looks up, and decides nothing.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from pydantic import ValidationError

from threatspec.claims import (
    CampaignVerdict,
    CellReading,
    ClaimVerdict,
    ControlReading,
    Evidence,
)
from threatspec.records import Arm, PlannedClaim, Procedure, Realised, Spend
from threatspec.reports._curves import Curve, curves
from threatspec.reports._details import Details, Disagreement, Transcript
from threatspec.reports._heat import Heat, heat
from threatspec.reports._predicates import own_measure
from threatspec.reports._words import MEANINGS, access, counted, large, measure
from threatspec.schema import Adversary, Verdict, operands, parse_predicate

__all__ = ["ClaimView", "ControlView", "Differing", "Report", "SpendLine", "build"]


@dataclass(frozen=True, slots=True)
class ControlView:
    """One procedure on the control, with what its training really did."""

    reading: ControlReading
    training: tuple[tuple[int, Realised], ...]
    """By replicate."""


@dataclass(frozen=True, slots=True)
class Differing:
    """Two measures over all replicates of one procedure on one arm."""

    procedure: str
    arm: Arm
    replicates: int
    counts: Disagreement


@dataclass(frozen=True, slots=True)
class SpendLine:
    """What one procedure spent on one subject."""

    procedure: str
    subject: str
    runs: int
    spend: Spend


@dataclass(frozen=True)
class ClaimView:
    """One claim with everything around it."""

    claim: ClaimVerdict
    planned: PlannedClaim
    evidence: Evidence
    details: Details

    @property
    def expectation(self) -> str:
        """Whether the verdict is the one that lets the claim pass."""
        return "as expected" if self.claim.passed else "NOT as expected"

    @property
    def wanted(self) -> str:
        """Which verdict was expected, and why."""
        because = f", because {self.claim.because}" if self.claim.because else ""
        return f"{self.claim.expected.value}{because}"

    @property
    def decisive(self) -> str:
        """The first reason."""
        return self.claim.reasons[0] if self.claim.reasons else ""

    @property
    def reason(self) -> str:
        """The decisive reason, unless it is the witness's own sentence, which is shown anyway."""
        witness = self.claim.witness
        return "" if witness and witness.says == self.decisive else self.decisive

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
        models, shown = self.planned.models, own_measure(self.claim.holds)
        return tuple(heat(arm, models.get(arm, ""), shown, self.cells(arm)) for arm in self.arms)

    @property
    def controls(self) -> tuple[ControlView, ...]:
        """The controls with their realised training."""
        return tuple(
            ControlView(reading, self._training(reading.procedure))
            for reading in self.claim.controls
        )

    def _training(self, procedure: str) -> tuple[tuple[int, Realised], ...]:
        return tuple(
            (cell.replicate, self.evidence.cells[cell.cell].realised[-1])
            for cell in self.cells(Arm.CONTROL)
            if cell.procedure == procedure and self.evidence.cells[cell.cell].realised
        )

    @property
    def against(self) -> tuple[tuple[str, str], ...]:
        """The adversary in words: goal, access, data, compute, knowledge."""
        adversary = _adversary(self.evidence, self.claim.adversary)
        return _threat(adversary) if adversary else ()

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
        by_cell: dict[str, list[Disagreement]] = {}
        for found in self.details.disagreements:
            by_cell.setdefault(found.cell, []).append(found)
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
        name = self.evidence.plan.procedures[cell.procedure].name
        what = "witness: " if transcript.role == "witness" else ""
        return f"{what}{name} on {cell.subject}, replicate {cell.replicate}"


@dataclass(frozen=True)
class Report:
    """A whole campaign as it is shown."""

    evidence: Evidence
    verdict: CampaignVerdict
    details: Details

    @property
    def title(self) -> str:
        """Name of the claims file."""
        return self.verdict.spec_file.removesuffix(".yaml").removesuffix(".yml")

    @cached_property
    def claims(self) -> tuple[ClaimView, ...]:
        """Every claim, in the order of the file."""
        planned = {p.claim.id: p for p in self.evidence.plan.claims}
        return tuple(
            ClaimView(claim, planned[claim.id], self.evidence, self.details)
            for claim in self.verdict.claims
        )

    @property
    def headline(self) -> str:
        """How many claims there are and how many came out as expected."""
        passed = sum(claim.passed for claim in self.verdict.claims)
        claims = counted(len(self.verdict.claims), "claim")
        verb = "was" if len(self.verdict.claims) == 1 else "were"
        return f"{claims} {verb} tested, {passed} came out as expected."

    @property
    def classes(self) -> tuple[tuple[Verdict, int, str], ...]:
        """Verdicts that occur, how often, and what each means."""
        counts = Counter(claim.verdict for claim in self.verdict.claims)
        return tuple((v, counts[v], MEANINGS[v]) for v in Verdict if counts[v])

    @property
    def procedures(self) -> tuple[Procedure, ...]:
        """Every procedure of the plan."""
        return tuple(self.evidence.plan.procedures.values())

    @cached_property
    def curves(self) -> tuple[Curve, ...]:
        """Loss curves of training procedures."""
        return curves(self.evidence)

    @cached_property
    def spend(self) -> tuple[SpendLine, ...]:
        """By procedure and subject; a run that two cells share is counted once."""
        seen: set[str] = set()
        found: dict[tuple[str, str], list[Spend]] = {}
        for entry in self.evidence.cells.values():
            cell = entry.cell
            if cell.attack and cell.attack not in seen:
                seen.add(cell.attack)
                found.setdefault((cell.procedure, cell.subject), []).append(entry.spend)
        names = self.evidence.plan.procedures
        return tuple(
            SpendLine(names[procedure].name, subject, len(spent), sum(spent, Spend()))
            for (procedure, subject), spent in found.items()
        )

    @property
    def total(self) -> Spend:
        """All attacks together."""
        return sum((line.spend for line in self.spend), Spend())

    @property
    def seeds(self) -> tuple[tuple[int, Mapping[str, int]], ...]:
        """Distinct sets of seeds, by replicate."""
        found: dict[str, tuple[int, Mapping[str, int]]] = {}
        for cell in self.evidence.plan.cells.values():
            named = {stream.value: seed for stream, seed in cell.seeds.items()}
            if named:
                found[f"{cell.replicate} {named}"] = (cell.replicate, named)
        return tuple(sorted(found.values(), key=lambda entry: (entry[0], len(entry[1]))))


def build(evidence: Evidence, verdict: CampaignVerdict, details: Details | None = None) -> Report:
    """Bring evidence, verdict and details together."""
    return Report(evidence, verdict, details or Details())


def _adversary(evidence: Evidence, name: str) -> Adversary | None:
    found = evidence.plan.spec.get("adversaries", {}).get(name)
    try:
        return Adversary.model_validate_json(json.dumps(found)) if found else None
    except ValidationError:
        return None  # a plan of another version: the adversary's name has to do


def _threat(adversary: Adversary) -> tuple[tuple[str, str], ...]:
    knows = adversary.knowledge
    aware = {"aware": "knows", "unaware": "does not know"}
    knowledge = (
        f"{aware[knows.safeguard]} the safeguard; {aware[knows.judge]} how success is judged"
    )
    return (
        ("Goal", adversary.goal),
        ("Intent", "none: ordinary use" if adversary.intent == "none" else adversary.intent),
        ("Access", access(adversary)),
        ("Data", _data(adversary)),
        ("Compute", _compute(adversary)),
        ("Knowledge", knowledge),
    )


def _data(adversary: Adversary) -> str:
    parts = [
        f"up to {source.n} {role.value} rows from {source.source}"
        for role, source in adversary.data.items()
    ]
    return "; ".join(parts) or "no rows to train on"


def _compute(adversary: Adversary) -> str:
    compute = adversary.compute
    parts = []
    if compute.steps is not None:
        parts.append(f"at most {counted(compute.steps, 'optimiser step')} per run")
    if compute.flops is not None:
        parts.append(f"at most {large(compute.flops)} floating-point operations in all")
    return "; ".join(parts) or "not bounded by the claim"


def _summed(found: list[Disagreement]) -> Disagreement:
    return Disagreement(
        cell="",
        first=found[0].first,
        second=found[0].second,
        prompts=sum(f.prompts for f in found),
        only_first=sum(f.only_first for f in found),
        only_second=sum(f.only_second for f in found),
    )
