"""One claim's cells as readings: what counts, what holds, exact p-values with Holm."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from threatspec.claims._bounds import (
    Lookup,
    distinct_operands,
    evaluate,
    least_refutation_p,
    least_support_p,
    refutation_p,
    support_p,
)
from threatspec.claims._evidence import CellEvidence, CellState, Evidence
from threatspec.claims._models import CellReading, GateReading, MeasureReading, Truth
from threatspec.claims._tally import Tally
from threatspec.records import Arm, PlannedClaim, Procedure
from threatspec.schema import Claim, Operand, Predicate, parse_predicate
from threatspec.statistics import holm

__all__ = ["View", "cost", "read_control", "read_defended", "read_gates", "read_operands"]


@dataclass(frozen=True)
class View:
    """The evidence of a campaign from the place of one claim."""

    evidence: Evidence
    planned: PlannedClaim

    @property
    def claim(self) -> Claim:
        """What is claimed."""
        return self.planned.claim

    @property
    def alpha(self) -> float:
        """Chance of error allowed to support, and to refutation."""
        return 1 - self.claim.confidence

    @cached_property
    def holds(self) -> Predicate:
        """What must be true on every attacked cell."""
        return parse_predicate(self.claim.holds)

    @cached_property
    def counts_if(self) -> Predicate | None:
        """What must be true of a cell for it to count."""
        return self.claim.predicate("counts_if")

    @property
    def has_control(self) -> bool:
        """Whether the subject declares a control."""
        return Arm.CONTROL in self.planned.untouched

    @cached_property
    def procedures(self) -> dict[str, Procedure]:
        """Procedures of the claim by id, in the order of the plan."""
        found = [cell.cell.procedure for cell in self.attacked(Arm.DEFENDED)]
        return {name: self.evidence.plan.procedures[name] for name in dict.fromkeys(found)}

    def attacked(self, arm: Arm, procedure: str | None = None) -> tuple[CellEvidence, ...]:
        """Attacked cells of an arm, each once; of one procedure if it is given."""
        names = dict.fromkeys(self.planned.attacked.get(arm, ()))
        cells = (self.evidence.cells[name] for name in names)
        return tuple(cell for cell in cells if procedure in {None, cell.cell.procedure})

    def untouched(self, arm: Arm) -> CellEvidence | None:
        """The cell of an arm as it is."""
        name = self.planned.untouched.get(arm)
        return self.evidence.cells[name] if name else None

    def lookup(self, cell: CellEvidence, arm: Arm) -> Lookup:
        """What was counted for an operand of a predicate that is read on `cell`."""
        places = {
            "": cell,
            "before": self.untouched(arm),
            "undefended": self.untouched(Arm.UNDEFENDED),
            "control": self.untouched(Arm.CONTROL),
        }

        def find(operand: Operand) -> Tally | None:
            place = places[operand.arm]
            return self._tally(place, operand.reading) if place else None

        return find

    def _tally(self, cell: CellEvidence, reading: str) -> Tally:
        _, units = self.evidence.plan.size(reading)
        return cell.tallies.get(reading) or Tally(units=units, yes=0, unknown=units)

    @property
    def some(self) -> bool:
        """Whether one attack that reaches `holds` is enough (`for: some`).

        Then everything is mirrored: an attack *breaks* a subject where `holds` is established on
        it, and the universal side is that `holds` is false everywhere.
        """
        return self.claim.quantifier == "some"

    def stands(self, holds: Truth) -> Truth:
        """Whether a subject withstood, given what is known of `holds` on it."""
        if not self.some or holds is Truth.UNDECIDED:
            return holds
        return Truth.FALSE if holds is Truth.TRUE else Truth.TRUE

    def break_p(self, lookup: Lookup) -> float:
        """Exact p-value of "this cell is broken"."""
        return (support_p if self.some else refutation_p)(self.holds, lookup)

    def least_break_p(self, lookup: Lookup) -> float:
        """The same if everything unknown turned out in the attack's favour."""
        return (least_support_p if self.some else least_refutation_p)(self.holds, lookup)

    def counts(self, cell: CellEvidence, arm: Arm) -> Truth:
        """`counts_if` on a cell; TRUE where the claim has none."""
        if self.counts_if is None:
            return Truth.TRUE
        return evaluate(self.counts_if, self.lookup(cell, arm), self.alpha)


def read_defended(view: View) -> tuple[CellReading, ...]:
    """Readings of the attacked subject; the family of Holm is every planned cell."""
    return _family(view, view.attacked(Arm.DEFENDED), Arm.DEFENDED)


def read_control(view: View, procedure: str) -> tuple[CellReading, ...]:
    """Readings of the attacked control; the family of Holm is the procedure's replicates."""
    return _family(view, view.attacked(Arm.CONTROL, procedure), Arm.CONTROL)


def read_gates(view: View) -> tuple[GateReading, ...]:
    """What must be true of the untouched subject, and of the untouched control."""
    found = []
    provided = view.claim.predicate("provided")
    if provided is not None:
        found.append(_gate(view, "provided", provided, Arm.DEFENDED))
    if view.has_control:
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
        note=_note(cell, counts),
    )


def _own(view: View) -> tuple[Operand, ...]:
    """Operands that are read on the attacked cell itself."""
    found = [
        *distinct_operands(view.holds),
        *(distinct_operands(view.counts_if) if view.counts_if else ()),
    ]
    return tuple({operand.reading: operand for operand in found if not operand.arm}.values())


def cost(cell: CellReading) -> tuple[float, int, int, str]:
    """Order of cheapness: FLOPs, steps, tokens; the id decides between equals."""
    return cell.spend.flops, cell.spend.steps, cell.spend.tokens, cell.cell


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
    return "collapsed" if counts is Truth.FALSE and cell.state is CellState.DONE else ""
