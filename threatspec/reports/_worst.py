"""The run that a claim stands or falls with, on any arm. For display; the verdict is ready."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from threatspec.claims import CellReading, CellState, MeasureReading, Truth
from threatspec.reports._heat import reading_of
from threatspec.reports._predicates import limit, own_reading

__all__ = ["Run", "run_of", "worst"]

_SPEAK = frozenset({CellState.DONE, CellState.ERROR})


@dataclass(frozen=True, slots=True)
class Run:
    """One attacked cell with what the claim's own measure reads there."""

    cell: CellReading
    reading: MeasureReading

    @property
    def name(self) -> str:
        """Procedure and replicate."""
        return f"{self.cell.procedure}, replicate {self.cell.replicate}"


def worst(cells: Sequence[CellReading], holds: str) -> Run | None:
    """The run that speaks most against `holds`; collapsed and unusable ones cannot speak."""
    measure, at_most = own_reading(holds), limit(holds).at_most
    speaking = (c for c in cells if c.state in _SPEAK and c.counts is not Truth.FALSE)
    found = [run for cell in speaking if (run := run_of(cell, measure))]
    return max(found, key=lambda run: _against(run.reading, at_most), default=None)


def run_of(cell: CellReading, measure: str) -> Run | None:
    """The cell with its reading of `measure`, if it was read there."""
    reading = reading_of(cell, measure)
    return Run(cell, reading) if reading else None


def _against(reading: MeasureReading, at_most: bool) -> tuple[float, float]:
    if at_most:
        return reading.tally.rate, reading.upper
    return -reading.tally.rate, -reading.lower
