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
        places = {
            "": (cell, arm),
            "before": (self.untouched(arm), arm),
            "undefended": (self.untouched(Arm.UNDEFENDED), Arm.UNDEFENDED),
            "control": (self.untouched(Arm.CONTROL), Arm.CONTROL),
        }

        def find(operand: Operand) -> Tally | None:
            place, own = places[operand.arm]
            return self.tally(place, operand.reading, own, audited=audited) if place else None

        return find

    def tally(self, cell: CellEvidence, reading: str, arm: Arm, *, audited: bool = True) -> Tally:
        """A tally of a cell as this claim understands it."""
        _, units = self.evidence.plan.size(reading)
        found = cell.tallies.get(reading) or Tally(units=units, yes=0, unknown=units)
        changes: dict[str, Any] = {}
        if self.claim.population == "benchmark":
            changes["basis"] = Basis.ENUMERATED
        if error := self.error(reading.partition("[")[0], cell, arm, audited=audited):
            changes["error"] = error
        return found.model_copy(update=changes) if changes else found

    def error(
        self, measure: str, cell: CellEvidence, arm: Arm, *, audited: bool = True
    ) -> Audit | Calibration | None:
        """What is known of how the judge errs on a cell's replies; people's labels come first."""
        if self._errs(measure):
            audit = self.evidence.audits.get((measure, self._family_of(cell), arm))
            return (audit if audited else None) or self._calibration(measure, cell)
        return None

    def blind(self, measure: str, cell: CellEvidence) -> bool:
        """Whether only labels could tell how the judge errs on a cell's replies."""
        return self._errs(measure) and self._calibration(measure, cell) is None

    def _errs(self, measure: str) -> bool:
        """Whether the judge can be wrong about what is claimed."""
        planned = self.evidence.plan.measures.get(measure)
        return planned is not None and not planned.exact and self.claim.about != "label"

    def _calibration(self, measure: str, cell: CellEvidence) -> Calibration | None:
        known = self.evidence.plan.measures[measure].calibration
        family = self._family_of(cell)
        return next((one for one in known if one.family == family), None)

    def _family_of(self, cell: CellEvidence) -> str:
        procedure = self.evidence.plan.procedures.get(cell.cell.procedure)
        return procedure.attack if procedure else _NO_ATTACK
