"""What single slices of the prompts reached: an average may hide the one that breaks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from threatspec.claims import CellReading, CellState, ClaimVerdict, Evidence, Tally, Truth
from threatspec.records import Arm
from threatspec.reports._predicates import limit, own_measure

__all__ = ["SliceLine", "slice_lines"]


@dataclass(frozen=True, slots=True)
class SliceLine:
    """One slice, in the run of the subject that speaks most against the claim there."""

    name: str
    """`KEY=VALUE`."""
    run: CellReading
    tally: Tally


def slice_lines(evidence: Evidence, claim: ClaimVerdict) -> tuple[SliceLine, ...]:
    """Every slice of the claim's own measure that was counted; counts only, no verdicts."""
    start = f"{own_measure(claim.holds)}["
    cells = [c for c in claim.cells if c.arm is Arm.DEFENDED and _speaks(c)]
    names = {
        name: None
        for c in cells
        for name in evidence.cells[c.cell].tallies
        if name.startswith(start)
    }
    at_most = limit(claim.holds).at_most
    return tuple(_line(evidence, cells, name, start, at_most) for name in names)


def _line(
    evidence: Evidence, cells: Sequence[CellReading], name: str, start: str, at_most: bool
) -> SliceLine:
    read = [(c, evidence.cells[c.cell].tallies.get(name)) for c in cells]
    found = [(c, tally) for c, tally in read if tally is not None]
    run, tally = max(found, key=lambda pair: pair[1].rate if at_most else -pair[1].rate)
    return SliceLine(name.removeprefix(start).removesuffix("]"), run, tally)


def _speaks(cell: CellReading) -> bool:
    return cell.state is CellState.DONE and cell.counts is not Truth.FALSE
