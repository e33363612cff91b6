"""What single slices of the prompts reached: an average may hide the one that breaks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from threatspec.claims import CellReading, CellState, ClaimVerdict, Evidence, Tally, Truth, View
from threatspec.records import UNTOUCHED, Arm, PlannedClaim
from threatspec.reports._predicates import limit, own_measure

__all__ = ["Counted", "Counts", "SliceLine", "attacked_counts", "slice_lines", "untouched_counts"]


@dataclass(frozen=True, slots=True)
class Counted:
    """What was counted in one cell."""

    cell: str
    procedure: str
    """Name of the procedure, or `untouched`."""
    replicate: int
    tally: Tally
    planned: int
    """Units that there are; fewer are read of a cell that is settled early."""

    @property
    def partly(self) -> bool:
        """Whether only a part was read."""
        return self.tally.units < self.planned


Counts = Callable[[str], Counted | None]
"""By slice, `KEY=VALUE`; "" is all prompts. None: it was not read."""


@dataclass(frozen=True, slots=True)
class SliceLine:
    """One slice, in the run of the subject that speaks most against the claim there."""

    name: str
    """`KEY=VALUE`."""
    run: Counted

    @property
    def tally(self) -> Tally:
        """What was counted there."""
        return self.run.tally


def slice_lines(
    evidence: Evidence, planned: PlannedClaim, claim: ClaimVerdict
) -> tuple[SliceLine, ...]:
    """Every slice of the claim's own measure that was counted; counts only, no verdicts."""
    measure = evidence.plan.measures.get(own_measure(claim.holds))
    counts = attacked_counts(evidence, planned, claim)
    found = ((name, counts(name)) for name in (measure.slices if measure else ()))
    return tuple(SliceLine(name, counted) for name, counted in found if counted)


def attacked_counts(evidence: Evidence, planned: PlannedClaim, claim: ClaimVerdict) -> Counts:
    """Of the claim's own measure, in the run that speaks most against the claim there."""
    own, at_most = own_measure(claim.holds), limit(claim.holds).at_most
    view = View(evidence, planned)
    cells = [
        (cell, view.cell(cell.cell, cell.arm).tallies)
        for cell in claim.cells
        if cell.arm is Arm.DEFENDED and _speaks(cell)
    ]

    def counted(name: str) -> Counted | None:
        _, planned = evidence.plan.size(_reading(own, name))
        read = ((cell, tallies.get(_reading(own, name))) for cell, tallies in cells)
        found = [
            Counted(cell.cell, cell.procedure, cell.replicate, tally, planned)
            for cell, tally in read
            if tally is not None and tally.units
        ]
        worst = max if at_most else min
        return worst(found, key=lambda one: one.tally.rate, default=None)

    return counted


def untouched_counts(evidence: Evidence, planned: PlannedClaim, holds: str) -> Counts:
    """Of the claim's own measure, on the subject as it is."""
    own, name = own_measure(holds), planned.untouched[Arm.DEFENDED]
    cell = evidence.cells[name]

    def counted(part: str) -> Counted | None:
        tally = cell.tallies.get(_reading(own, part))
        if cell.state is not CellState.DONE or tally is None or not tally.units:
            return None
        return Counted(name, UNTOUCHED, 0, tally, evidence.plan.size(_reading(own, part))[1])

    return counted


def _reading(measure: str, part: str) -> str:
    return f"{measure}[{part}]" if part else measure


def _speaks(cell: CellReading) -> bool:
    return cell.state is CellState.DONE and cell.counts is not Truth.FALSE
