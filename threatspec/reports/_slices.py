"""What single slices of the prompts reached: an average may hide the one that breaks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from threatspec.claims import (
    CellEvidence,
    CellReading,
    CellState,
    ClaimVerdict,
    Evidence,
    Tally,
    Truth,
    View,
)
from threatspec.records import Arm, PlannedClaim
from threatspec.reports._predicates import limit, own_measure

__all__ = ["SliceLine", "slice_lines"]


@dataclass(frozen=True, slots=True)
class SliceLine:
    """One slice, in the run of the subject that speaks most against the claim there."""

    name: str
    """`KEY=VALUE`."""
    run: CellReading
    tally: Tally


def slice_lines(
    evidence: Evidence, planned: PlannedClaim, claim: ClaimVerdict
) -> tuple[SliceLine, ...]:
    """Every slice of the claim's own measure that was counted; counts only, no verdicts."""
    own = own_measure(claim.holds)
    measure = evidence.plan.measures.get(own)
    if measure is None or not measure.slices:
        return ()
    view = View(evidence, planned)
    cells = [
        (cell, view.cell(cell.cell, cell.arm))
        for cell in claim.cells
        if cell.arm is Arm.DEFENDED and _speaks(cell)
    ]
    at_most = limit(claim.holds).at_most
    lines = (_line(cells, own, name, at_most) for name in measure.slices)
    return tuple(line for line in lines if line)


def _line(
    cells: Sequence[tuple[CellReading, CellEvidence]], own: str, name: str, at_most: bool
) -> SliceLine | None:
    read = [(cell, evidence.tallies.get(f"{own}[{name}]")) for cell, evidence in cells]
    found = [(cell, tally) for cell, tally in read if tally is not None and tally.units]
    if not found:
        return None
    run, tally = max(found, key=lambda pair: pair[1].rate if at_most else -pair[1].rate)
    return SliceLine(name, run, tally)


def _speaks(cell: CellReading) -> bool:
    return cell.state is CellState.DONE and cell.counts is not Truth.FALSE
