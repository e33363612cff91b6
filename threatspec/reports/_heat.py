"""Heat tables: procedures x replicates, one per arm, by the measure that a claim holds over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from threatspec.claims import CellReading, MeasureReading
from threatspec.records import Arm
from threatspec.reports._words import cell_word

__all__ = ["Heat", "HeatCell", "heat", "reading_of"]

_STEPS = 10


@dataclass(frozen=True, slots=True)
class HeatCell:
    """One square: a number, a word and a level of colour, so that no one of them stands alone."""

    cell: CellReading
    reading: MeasureReading | None
    word: str
    level: int | None
    """0 to 10 by the share of `yes`; None where the cell says nothing."""
    witness: bool = False


@dataclass(frozen=True, slots=True)
class Heat:
    """One arm of one claim."""

    arm: Arm
    subject: str
    measure: str
    replicates: tuple[int, ...]
    rows: tuple[tuple[str, tuple[HeatCell | None, ...]], ...]
    """Procedure, and its square per replicate."""


def heat(
    arm: Arm, subject: str, measure: str, cells: Sequence[CellReading], witness: str = ""
) -> Heat:
    """The table of `cells`, all of one arm, in the order of the plan; `witness` is a cell's id."""
    replicates = tuple(sorted({cell.replicate for cell in cells}))
    rows: dict[str, dict[int, HeatCell]] = {}
    for cell in cells:
        rows.setdefault(cell.procedure, {})[cell.replicate] = _square(cell, measure, witness)
    squares = ((name, tuple(row.get(n) for n in replicates)) for name, row in rows.items())
    return Heat(arm, subject, measure, replicates, tuple(squares))


def reading_of(cell: CellReading, measure: str) -> MeasureReading | None:
    """What `measure` reads on the cell, if it was read there."""
    return next((r for r in cell.readings if r.measure == measure), None)


def _square(cell: CellReading, measure: str, witness: str) -> HeatCell:
    reading = reading_of(cell, measure)
    word = cell_word(cell)
    if reading is None or word in {"not run", "over budget"}:
        return HeatCell(cell, None, word, None)
    return HeatCell(cell, reading, word, round(reading.tally.rate * _STEPS), cell.cell == witness)
