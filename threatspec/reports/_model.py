"""The one model that all renderers show: who was the adversary, what was read, what it cost.

Built from evidence and verdict; it groups and looks up, and decides nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from threatspec.claims import CampaignVerdict, Evidence
from threatspec.records import Procedure, Spend
from threatspec.reports._backends import Replay, replays
from threatspec.reports._claims import ClaimView
from threatspec.reports._curves import Curve, curves
from threatspec.reports._details import Details
from threatspec.reports._instruments import InstrumentView, instruments
from threatspec.reports._matrix import MATRIX_SAYS, Matrix, matrices
from threatspec.reports._searches import SearchChart, searches
from threatspec.reports._subjects import WHICH, Side, SubjectMap, subject_maps
from threatspec.reports._words import MEANINGS, counted
from threatspec.schema import Verdict

__all__ = ["Report", "SpendLine", "build"]

_MOST_CELLS = 8000


@dataclass(frozen=True, slots=True)
class SpendLine:
    """What one procedure spent on one subject."""

    procedure: str
    subject: str
    runs: int
    spend: Spend


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
        planned = {p.id: p for p in self.evidence.plan.claims}
        anchors = _anchors([claim.id for claim in self.verdict.claims])
        return tuple(
            ClaimView(claim, planned[claim.id], self.evidence, self.details, anchor)
            for claim, anchor in zip(self.verdict.claims, anchors, strict=True)
        )

    @property
    def headline(self) -> str:
        """How many claims there are and how many came out as expected."""
        passed = sum(claim.passed for claim in self.verdict.claims)
        claims = counted(len(self.verdict.claims), "claim")
        verb = "was" if len(self.verdict.claims) == 1 else "were"
        waived = sum(claim.passed and bool(claim.waived) for claim in self.verdict.claims)
        only = f", {waived} of them only with waivers" if waived else ""
        return f"{claims} {verb} tested, {passed} came out as expected{only}."

    @property
    def classes(self) -> tuple[tuple[Verdict, int, str], ...]:
        """Verdicts that occur, how often, and what each means."""
        counts = Counter(claim.verdict for claim in self.verdict.claims)
        return tuple((v, counts[v], MEANINGS[v]) for v in Verdict if counts[v])

    @cached_property
    def large(self) -> bool:
        """Whether a page with every detail of every cell would be too much for a browser."""
        return sum(len(claim.cells) for claim in self.verdict.claims) > _MOST_CELLS

    @property
    def procedures(self) -> tuple[Procedure, ...]:
        """Every procedure of the plan."""
        return tuple(self.evidence.plan.procedures.values())

    @cached_property
    def curves(self) -> tuple[Curve, ...]:
        """Loss curves of training procedures."""
        return curves(self.evidence)

    @cached_property
    def replays(self) -> tuple[Replay, ...]:
        """What two back-ends did with one configuration."""
        return replays(self.evidence)

    @cached_property
    def searches(self) -> tuple[SearchChart, ...]:
        """What searches found, against what they spent."""
        return searches(self.evidence)

    @cached_property
    def subjects(self) -> tuple[SubjectMap, ...]:
        """What one written claim reads on all its subjects."""
        return subject_maps(self.evidence, self.verdict)

    @cached_property
    def matrices(self) -> tuple[Matrix, ...]:
        """Verdicts of attacks x subjects."""
        return matrices(self.evidence, self.verdict)

    @property
    def matrix_says(self) -> str:
        """How matrices are read."""
        return MATRIX_SAYS

    def anchor(self, claim: str) -> str:
        """Name of the section of a claim."""
        return self._anchors[claim]

    @cached_property
    def _anchors(self) -> dict[str, str]:
        return {view.claim.id: view.anchor for view in self.claims}

    @property
    def sides(self) -> dict[Side, str]:
        """The two maps of subjects: untouched, and attacked."""
        return WHICH

    @cached_property
    def instruments(self) -> tuple[InstrumentView, ...]:
        """What was read beside the measures."""
        return instruments(self.evidence)

    @cached_property
    def spend(self) -> tuple[SpendLine, ...]:
        """By procedure and subject; a run that two cells share is counted once."""
        seen: set[str] = set()
        found: dict[tuple[str, str], list[Spend]] = {}
        for entry in self.evidence.cells.values():
            cell = entry.cell
            if cell.attack and cell.attack not in seen:
                seen.add(cell.attack)
                found.setdefault((cell.procedure, cell.subject), []).append(entry.final)
        names = self.evidence.plan.procedures
        runs = [
            SpendLine(names[procedure].name, subject, len(spent), sum(spent, Spend()))
            for (procedure, subject), spent in found.items()
        ]
        searched = [
            SpendLine(f"search of {chart.procedure}", line.subject, line.runs, line.spend)
            for chart in self.searches
            for line in chart.lines
        ]
        return (*runs, *searched)

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


def _anchors(ids: Sequence[str]) -> list[str]:
    """Names that may stand in a link: ids of expanded claims hold brackets and spaces."""
    found: dict[str, None] = {}
    for name in ids:
        plain = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")
        anchor, number = plain, 2
        while anchor in found:
            anchor, number = f"{plain}-{number}", number + 1
        found[anchor] = None
    return list(found)


def build(evidence: Evidence, verdict: CampaignVerdict, details: Details | None = None) -> Report:
    """Bring evidence, verdict and details together."""
    return Report(evidence, verdict, details or Details())
