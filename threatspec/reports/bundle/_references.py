"""What a plan refers to must be in it: nothing can be concluded from one that is torn."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from threatspec.records import UNTOUCHED, Arm, Cell, Plan, PlannedClaim, PlannedMeasure
from threatspec.reports.bundle._format import refused
from threatspec.schema import Operand, Spec, operands

__all__ = ["require_whole", "spec_of"]

_ARMS = {"undefended": Arm.UNDEFENDED, "control": Arm.CONTROL}


def spec_of(plan: Plan) -> Spec:
    """The spec inside a plan. Raises ThreatspecError TS-BUNDLE if it is none, or is torn."""
    try:
        spec = Spec.model_validate_json(json.dumps(plan.spec))
    except (RecursionError, ValueError) as error:
        text = (str(error).splitlines() or ["it nests too deeply"])[0][:200]
        raise refused("the spec inside a plan must be one that this program reads", text) from None
    for claim in spec.claims:
        known = set(claim.subject) <= spec.all_subjects.keys()
        if claim.against not in spec.adversaries or not known or not spec.all_subjects:
            rule = "the spec inside a plan must have everything that it refers to"
            raise refused(rule, f"claim {claim.id} is about something else")
    return spec


def require_whole(plan: Plan) -> None:
    """Raises ThreatspecError TS-BUNDLE at the first thing that the plan names and does not have."""
    for fault in _faults(plan):
        raise refused("plan.json must have everything that it refers to", fault)


def _faults(plan: Plan) -> Iterator[str]:
    ids = {cell.id for cell in plan.cells.values()} | {one.id for one in plan.trials.values()}
    ids |= {procedure.id for procedure in plan.procedures.values()}
    keys = [*plan.cells, *plan.trials, *plan.procedures]
    if ids != set(keys) or len(ids) < len(keys):
        yield "a cell, trial or procedure does not stand under its own id"
    for procedure in plan.procedures.values():
        if not all(_is_source(entry) for entry in procedure.data.values()):
            yield f"procedure {procedure.id!r} trains on rows of no source"
    for name, measure in plan.measures.items():
        yield from (f"measure {name!r} {fault}" for fault in _measure(measure))
    for cell in plan.cells.values():
        yield from (f"cell {cell.id!r} {fault}" for fault in _cell(plan, cell))
    for trial in plan.trials.values():
        if not plan.trials.keys() >= {*trial.needs, *trial.after, *trial.history}:
            yield f"trial {trial.id!r} needs or follows another that is not there"
    for name, planned in plan.instruments.items():
        if not plan.trials.keys() >= {one.trial for one in planned.readings}:
            yield f"instrument {name!r} is read by a trial that is not there"
    for claim in plan.claims:
        yield from (f"claim {claim.id!r} {fault}" for fault in _claim(plan, claim))
    if len({claim.id for claim in plan.claims}) < len(plan.claims):
        yield "two claims have one id"


def _is_source(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("source"), str)
        and isinstance(entry.get("n"), int)
    )


def _measure(measure: PlannedMeasure) -> Iterator[str]:
    if not isinstance(measure.judge.get("use"), str):
        yield "is judged by nobody"
    items = [item for unit in measure.order for item in unit]
    if len(set(items)) < len(items) or not all(measure.order):
        yield "asks a prompt twice, or has an empty cluster"
    if measure.units != len(measure.order) or measure.prompts != len(items) or not items:
        yield "has another number of prompts than it says"
    looks = measure.looks
    if not looks or looks[-1] != measure.units or list(looks) != sorted({*looks}) or looks[0] < 1:
        yield "is not looked at in order up to its end"
    for key, part in measure.slices.items():
        own = set(part.items)
        units = sum(not own.isdisjoint(unit) for unit in measure.order)
        if not own <= set(items) or part.units != units or len(own) < len(part.items):
            yield f"has a slice {key!r} of other prompts"


def _cell(plan: Plan, cell: Cell) -> Iterator[str]:
    if cell.procedure != UNTOUCHED and cell.procedure not in plan.procedures:
        yield "is of a procedure that is not there"
    if (cell.attack is None) != (cell.procedure == UNTOUCHED):
        yield "has no attack, or has one and is untouched"
    if cell.attack is not None and cell.attack not in plan.trials:
        yield "is attacked by a trial that is not there"
    for name, trials in cell.measures.items():
        if name not in plan.measures or not plan.trials.keys() >= set(trials):
            yield f"reads {name!r}, which is not there"
        elif len(trials) not in {1, len(plan.measures[name].looks)}:
            yield f"reads {name!r} at another number of looks"


def _claim(plan: Plan, planned: PlannedClaim) -> Iterator[str]:
    cells = [
        *planned.untouched.values(),
        *(c for found in planned.attacked.values() for c in found),
    ]
    if not plan.cells.keys() >= set(cells) or not planned.attacked.keys() <= planned.models.keys():
        yield "reads a cell that is not there"
    if planned.untouched.keys() != planned.models.keys() or Arm.DEFENDED not in planned.models:
        yield "has an arm without a model, or a model without a cell"
    for which in ("holds", "provided", "counts_if"):
        predicate = planned.claim.predicate(which)
        for operand in operands(predicate) if predicate else ():
            if not _known(plan, planned, operand):
                yield f"reads {operand}, which is not there"


def _known(plan: Plan, planned: PlannedClaim, operand: Operand) -> bool:
    measure = plan.measures.get(operand.measure)
    arm = _ARMS.get(operand.arm, Arm.DEFENDED)
    return (
        measure is not None
        and (not operand.slice or operand.slice in measure.slices)
        and arm in planned.models
    )
