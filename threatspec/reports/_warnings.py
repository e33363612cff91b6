"""What weakened trials without failing them, in words."""

from __future__ import annotations

from collections.abc import Iterable

from threatspec.claims import Evidence
from threatspec.records import Plan
from threatspec.reports._words import counted

__all__ = ["trials_behind", "warned"]


def warned(evidence: Evidence, cells: Iterable[str]) -> tuple[str, ...]:
    """Warnings of the trials behind cells, each once, with the number of trials that it is of."""
    if not evidence.warnings:
        return ()
    found: dict[str, int] = {}
    for trial in trials_behind(evidence.plan, cells):
        for says in dict.fromkeys(evidence.warnings.get(trial, ())):
            found[says] = found.get(says, 0) + 1
    return tuple(f"{says} ({counted(number, 'trial')})" for says, number in found.items())


def trials_behind(plan: Plan, cells: Iterable[str]) -> list[str]:
    """Trials that cells need, directly or by others, each once."""
    open_: list[str] = []
    for name in cells:
        cell = plan.cells[name]
        open_ += [cell.attack] if cell.attack else []
        open_ += (trial for trials in cell.measures.values() for trial in trials)
    found: dict[str, None] = {}
    while open_:
        trial = open_.pop()
        if trial not in found and trial in plan.trials:
            found[trial] = None
            open_ += plan.trials[trial].needs
    return list(found)
