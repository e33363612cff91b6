"""Controls: an attack that cannot break what must break shows nothing about what did not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from threatspec.claims._bounds import bound_of, could_be_true
from threatspec.claims._cells import read_control
from threatspec.claims._evidence import CellEvidence, CellState
from threatspec.claims._liveness import liveness
from threatspec.claims._models import CellReading, ControlReading, Truth
from threatspec.claims._text import plural
from threatspec.claims._view import View
from threatspec.claims._words import break_words, counted, replicate_words
from threatspec.records import Arm, Procedure
from threatspec.statistics import holm

__all__ = ["Control", "read_controls"]


@dataclass(frozen=True, slots=True)
class Control:
    """One procedure of a claim on the control."""

    procedure: Procedure
    cells: tuple[CellReading, ...]
    reading: ControlReading

    @property
    def dead(self) -> bool:
        """Whether the attack showed that it cannot break what must break."""
        return Truth.FALSE in {self.reading.breaks, self.reading.live}

    @property
    def dropped(self) -> bool:
        """A dead attack that nobody named is left out, and listed."""
        return self.dead and not self.procedure.named


def read_controls(view: View) -> tuple[Control, ...]:
    """One reading per procedure; none if the subject declares no control."""
    if not view.has_control:
        return ()
    return tuple(_read(view, name, procedure) for name, procedure in view.procedures.items())


def _read(view: View, name: str, procedure: Procedure) -> Control:
    cells, found = read_control(view, name), view.attacked(Arm.CONTROL, name)
    breaks = _breaks(view, cells, found)
    live, fault = liveness(procedure, found)
    reading = ControlReading(
        procedure=procedure.name,
        named=procedure.named,
        breaks=breaks,
        live=live,
        adjusted_p=min((cell.adjusted_p for cell in cells), default=1.0),
        says=_says(view, procedure, cells, breaks, fault),
    )
    return Control(procedure, cells, reading)


def _breaks(view: View, cells: Sequence[CellReading], found: Sequence[CellEvidence]) -> Truth:
    """FALSE only if no answer that is still missing could have made it break.

    Otherwise missing rows would drop an attack that nobody named, and with it the cells that stand
    against the claim.
    """
    if any(cell.adjusted_p <= view.alpha for cell in cells):
        return Truth.TRUE
    if not cells or any(cell.state is not CellState.DONE for cell in cells):
        return Truth.UNDECIDED
    best = holm([_best_p(view, cell) for cell in found])
    return Truth.UNDECIDED if min(best) <= view.alpha else Truth.FALSE


def _best_p(view: View, cell: CellEvidence) -> float:
    lookup = view.lookup(cell, Arm.CONTROL)
    if view.counts_if and not could_be_true(view.counts_if, lookup, view.alpha):
        return 1.0
    return view.least_break_p(lookup)


def _says(
    view: View,
    procedure: Procedure,
    cells: Sequence[CellReading],
    breaks: Truth,
    fault: str,
) -> str:
    control = view.planned.models[Arm.CONTROL]
    tail = f"; {fault}" if fault else ""
    if breaks is Truth.TRUE:
        best = min(cells, key=lambda cell: cell.adjusted_p)
        where = f"{control}{replicate_words(procedure, best.replicate)}"
        return f"{procedure.name} breaks the control {where}: {break_words(view, best)}{tail}"
    count = plural(len(cells), "replicate")
    if breaks is Truth.FALSE:
        where = f"{control} in any of {count}" if len(cells) > 1 else control
        return f"{procedure.name} does not break the control {where}{_most(view, cells)}{tail}"
    done = sum(cell.state is CellState.DONE for cell in cells)
    open_end = f"{done} of {count} on the control {control} finished"
    return f"whether {procedure.name} breaks the control is not known: {open_end}{tail}"


def _most(view: View, cells: Sequence[CellReading]) -> str:
    """The most that the attack reached where the control stayed usable."""
    counting = [cell for cell in cells if cell.counts is not Truth.FALSE]
    if not counting:
        return f": it collapses (`{view.claim.counts_if}` is false)"
    bound = bound_of(view.holds)
    if bound is None:
        return ""
    seen = [r for cell in counting for r in cell.readings if r.measure == bound.measure]
    high = bound.at_most != view.some
    most = max(seen, key=lambda r: r.tally.yes if high else -r.tally.yes)
    limit = ("at most " if high else "at least ") if len(counting) > 1 else ""
    return f": {bound.measure} on {limit}{counted(view, most)}"
