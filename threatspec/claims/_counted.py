"""What was counted on the cells of one claim, and what is known of how its judges err."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from threatspec.claims._bounds import Lookup
from threatspec.claims._evidence import CellEvidence, Evidence
from threatspec.claims._judge_error import Audit
from threatspec.claims._tally import Basis, Tally
from threatspec.records import Arm, PlannedClaim
from threatspec.schema import Calibration, Claim, Operand

__all__ = ["Counts"]

_NO_ATTACK = "none"
"""Family of replies of an untouched subject."""


@dataclass(frozen=True)
class Counts:
    """Tallies of a campaign as one claim understands them."""

    evidence: Evidence
    planned: PlannedClaim

    @property
    def claim(self) -> Claim:
        """What is claimed."""
        return self.planned.claim

    def untouched(self, arm: Arm) -> CellEvidence | None:
        """The cell of an arm as it is."""
        name = self.planned.untouched.get(arm)
        return self.evidence.cells[name] if name else None

    def lookup(self, cell: CellEvidence, arm: Arm, *, audited: bool = True) -> Lookup:
        """What was counted for an operand of a predicate that is read on `cell`."""

        def find(operand: Operand) -> Tally | None:
            place = self.place(operand, cell, arm)
            return self.tally(place, operand.reading, audited=audited) if place else None

        return find

    def place(self, operand: Operand, cell: CellEvidence, arm: Arm) -> CellEvidence | None:
        """The cell that an operand is read on, where the predicate is read on `cell`."""
        match operand.arm:
            case "":
                return cell
            case "before":
                return self.untouched(arm)
        return self.untouched(Arm(operand.arm))

    def tally(self, cell: CellEvidence, reading: str, *, audited: bool = True) -> Tally:
        """A tally of a cell as this claim understands it."""
        _, units = self.evidence.plan.size(reading)
        found = cell.tallies.get(reading) or Tally(units=units, yes=0, unknown=units)
        changes: dict[str, Any] = {}
        if self.claim.population == "benchmark":
            changes["basis"] = Basis.ENUMERATED
        if error := self.error(reading, cell, audited=audited):
            changes["error"] = error
        return found.model_copy(update=changes) if changes else found

    def error(
        self, reading: str, cell: CellEvidence, *, audited: bool = True
    ) -> Audit | Calibration | None:
        """What is known of how the judge errs on a cell's replies; people's labels come first."""
        if not self.errs(reading):
            return None
        audit = self.evidence.audits.get((reading, cell.cell.id)) if audited else None
        return audit or self._calibration(reading, cell)

    def blind(self, reading: str, cell: CellEvidence, *, audited: bool = True) -> bool:
        """Whether the judge can be wrong on a cell's replies, and nobody knows how often."""
        return self.errs(reading) and self.error(reading, cell, audited=audited) is None

    def errs(self, reading: str) -> bool:
        """Whether the judge can be wrong about what is claimed."""
        planned = self.evidence.plan.measures.get(reading.partition("[")[0])
        return planned is not None and not planned.exact and self.claim.about != "label"

    def _calibration(self, reading: str, cell: CellEvidence) -> Calibration | None:
        """Of whole measures whose units are prompts: it was made of replies to such an attack."""
        measure = self.evidence.plan.measures.get(reading)
        if measure is None or measure.units != measure.prompts:
            return None
        family = self._family_of(cell)
        return next((one for one in measure.calibration if one.family == family), None)

    def _family_of(self, cell: CellEvidence) -> str:
        procedure = self.evidence.plan.procedures.get(cell.cell.procedure)
        return procedure.attack if procedure else _NO_ATTACK
