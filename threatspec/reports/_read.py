"""How far cells were read: a cell stops as soon as nothing that follows could change what it says.

What was not read was not needed, and is neither a failure nor part of any share that is shown.
"""

from __future__ import annotations

from collections.abc import Sequence

from threatspec.claims import CellReading, CellState
from threatspec.records import Plan
from threatspec.reports._words import counted

__all__ = ["read_words"]

_READ = frozenset({CellState.DONE, CellState.ERROR})


def read_words(plan: Plan, cells: Sequence[CellReading]) -> str:
    """What was read of what could have been, by measure; "" if everything was."""
    run = [cell for cell in cells if cell.state in _READ]
    early = sum(_stopped(plan, cell) for cell in run)
    if not early:
        return ""
    names = dict.fromkeys(reading.measure for cell in run for reading in cell.readings)
    parts = ", ".join(_part(plan, run, name) for name in names)
    return f"Read until settled: {parts} ({early} of {counted(len(run), 'cell')} stopped early)."


def _stopped(plan: Plan, cell: CellReading) -> bool:
    return any(r.tally.units < plan.size(r.measure)[1] for r in cell.readings)


def _part(plan: Plan, cells: Sequence[CellReading], name: str) -> str:
    prompts, units = plan.size(name)
    found = [r.tally.units for cell in cells for r in cell.readings if r.measure == name]
    counted = plan.measures[name.partition("[")[0].rpartition(".")[2]].noun
    noun = counted if prompts == units else f"clusters of {counted}"
    return f"{sum(found):,} of {units * len(found):,} {noun} of {name}"
