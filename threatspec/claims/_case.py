"""Everything that was read for one claim, before anything is concluded from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from threatspec.claims._cells import read_defended, read_gates
from threatspec.claims._controls import Control, read_controls
from threatspec.claims._evidence import CellEvidence
from threatspec.claims._models import CellReading, GateReading
from threatspec.claims._view import View
from threatspec.records import Arm, Procedure

__all__ = ["Case", "Series", "open_case"]


@dataclass(frozen=True, slots=True)
class Series:
    """One procedure on the defended subject."""

    procedure: Procedure
    cells: tuple[CellReading, ...]
    dropped: bool


@dataclass(frozen=True)
class Case:
    """One claim with all readings."""

    view: View
    cells: tuple[CellReading, ...]
    """Of the defended subject."""
    controls: tuple[Control, ...]
    gates: tuple[GateReading, ...]

    @cached_property
    def series(self) -> tuple[Series, ...]:
        """Readings by procedure, in the order of the plan."""
        dropped = {control.procedure.id for control in self.controls if control.dropped}
        by_procedure: dict[str, list[CellReading]] = {}
        for reading in self.cells:
            of = self.evidence(reading).cell.procedure
            by_procedure.setdefault(of, []).append(reading)
        return tuple(
            Series(self.view.procedures[name], tuple(cells), name in dropped)
            for name, cells in by_procedure.items()
        )

    @property
    def needed(self) -> Iterator[Series]:
        """Procedures that support needs: all but dropped ones."""
        return (series for series in self.series if not series.dropped)

    @cached_property
    def dropped(self) -> tuple[str, ...]:
        """Names of the procedures that were left out."""
        return tuple(series.procedure.name for series in self.series if series.dropped)

    @property
    def all_dropped(self) -> bool:
        """Whether no procedure is left that could show anything."""
        return all(series.dropped for series in self.series)

    @property
    def needed_cells(self) -> tuple[CellEvidence, ...]:
        """Every cell that support needs: untouched ones, controls, defended ones not dropped."""
        arms = [self.view.untouched(arm) for arm in Arm]
        found = [
            *(cell for cell in arms if cell),
            *self.view.attacked(Arm.CONTROL),
            *(self.evidence(cell) for series in self.needed for cell in series.cells),
        ]
        return tuple({cell.cell.id: cell for cell in found}.values())

    def evidence(self, reading: CellReading) -> CellEvidence:
        """What a reading was made from."""
        return self.view.cell(reading.cell, reading.arm)


def open_case(view: View) -> Case:
    """Read everything."""
    return Case(view, read_defended(view), read_controls(view), read_gates(view))
