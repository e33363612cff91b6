"""One claim's cells as readings: what counts, what holds, exact p-values with Holm."""

from __future__ import annotations

from threatspec.claims._bounds import Lookup, distinct_operands, evaluate
from threatspec.claims._evidence import CellEvidence, CellState
from threatspec.claims._models import CellReading, GateReading, MeasureReading, Truth
from threatspec.claims._view import View
from threatspec.records import Arm, knob_of
from threatspec.schema import Operand, Predicate
from threatspec.statistics import holm

__all__ = ["cost", "read_control", "read_defended", "read_family", "read_gates", "read_operands"]


def read_defended(view: View) -> tuple[CellReading, ...]:
    """Readings of the attacked subject; the family of Holm is every planned cell."""
    return read_family(view, Arm.DEFENDED)


def read_control(view: View, procedure: str) -> tuple[CellReading, ...]:
    """Readings of the attacked control; the family of Holm is the procedure's replicates."""
    return _family(view, view.attacked(Arm.CONTROL, procedure), Arm.CONTROL)


def read_family(view: View, arm: Arm) -> tuple[CellReading, ...]:
    """Readings of all attacked cells of an arm as one family."""
    return _family(view, view.attacked(arm), arm)


def read_gates(view: View) -> tuple[GateReading, ...]:
    """What must be true of the untouched subject, and of an untouched control that is attacked."""
    found = []
    provided = view.claim.predicate("provided")
    if provided is not None:
        found.append(_gate(view, "provided", provided, Arm.DEFENDED))
    if view.has_control and not view.as_it_is:
        found.append(_gate(view, "control untouched", view.holds, Arm.CONTROL))
    return tuple(gate for gate in found if gate)


def _gate(view: View, name: str, predicate: Predicate, arm: Arm) -> GateReading | None:
    cell = view.untouched(arm)
    if cell is None:
        return None
    lookup = view.lookup(cell, arm)
    truth = evaluate(predicate, lookup, view.alpha) if cell.usable else Truth.UNDECIDED
    mirrored = view.some and name != "provided"
    return GateReading(
        name="provided" if name == "provided" else "control untouched",
        predicate=f"not ({predicate.text})" if mirrored else predicate.text,
        subject=cell.cell.subject,
        truth=view.stands(truth) if mirrored else truth,
        readings=read_operands(view, distinct_operands(predicate), lookup),
    )


def _family(view: View, cells: tuple[CellEvidence, ...], arm: Arm) -> tuple[CellReading, ...]:
    """Cells that cannot speak stay in the family with p = 1: it never shrinks after seeing data."""
    read = [_read(view, cell, arm) for cell in cells]
    adjusted = holm([reading.p for reading in read])
    return tuple(
        reading.model_copy(update={"adjusted_p": p})
        for reading, p in zip(read, adjusted, strict=True)
    )


def _read(view: View, cell: CellEvidence, arm: Arm) -> CellReading:
    lookup = view.lookup(cell, arm)
    counts = view.counts(cell, arm) if cell.usable else Truth.UNDECIDED
    holds = evaluate(view.holds, lookup, view.alpha) if cell.usable else Truth.UNDECIDED
    silent = counts is not Truth.TRUE or view.stands(holds) is Truth.TRUE
    return CellReading(
        cell=cell.cell.id,
        procedure=view.evidence.plan.procedures[cell.cell.procedure].name,
        arm=arm,
        replicate=cell.cell.replicate,
        state=cell.state,
        counts=counts,
        holds=holds,
        p=1.0 if silent else view.break_p(lookup),
        adjusted_p=1.0,
        readings=read_operands(view, _own(view), lookup),
        spend=cell.spend,
        chosen=_chosen(view, cell),
        note=_note(cell, counts),
    )


def _own(view: View) -> tuple[Operand, ...]:
    """Operands that are read on the attacked cell itself."""
    found = [
        *distinct_operands(view.holds),
        *(distinct_operands(view.counts_if) if view.counts_if else ()),
    ]
    return tuple({operand.reading: operand for operand in found if not operand.arm}.values())


def cost(cell: CellReading) -> tuple[float, int, int, int, str]:
    """Order of cheapness: FLOPs, steps, tokens; replicate and id decide between equals."""
    spend = cell.spend
    return spend.flops, spend.steps, spend.tokens, cell.replicate, cell.cell


def read_operands(
    view: View, operands: tuple[Operand, ...], lookup: Lookup
) -> tuple[MeasureReading, ...]:
    """Counts and bounds of operands, by their names in the predicate."""
    found = []
    for operand in operands:
        tally = lookup(operand)
        if tally is not None:
            bounds = tally.bounds(view.alpha)
            found.append(
                MeasureReading(
                    measure=str(operand), tally=tally, lower=bounds.lower, upper=bounds.upper
                )
            )
    return tuple(found)


def _note(cell: CellEvidence, counts: Truth) -> str:
    if cell.code or cell.message:
        return ": ".join(part for part in (cell.code, cell.message) if part)
    found = [f"not trained: blocked by {cell.blocked}"] if cell.blocked else []
    if counts is Truth.FALSE and cell.state is CellState.DONE:
        found.append("collapsed")
    return ", ".join(found)


def _chosen(view: View, cell: CellEvidence) -> str:
    """Knobs that a search has set, as people write them."""
    procedure = view.evidence.plan.procedures.get(cell.cell.procedure)
    if procedure is None or procedure.search is None or cell.config is None:
        return ""
    known = {name: knob_of(cell.config, name) for name in procedure.search.varied}
    return ", ".join(f"{n}={v:g}" if isinstance(v, float) else f"{n}={v}" for n, v in known.items())
