"""Is every cell planned that the spec asks for, with its own seeds, budget and work?

A replicate that was dropped or drawn again leaves a plan that no spec compiles to, whatever ids and
digests were computed anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from threatspec.campaign import Expanded, replicate_seeds
from threatspec.records import (
    UNTOUCHED,
    Arm,
    Budget,
    Cell,
    PlannedClaim,
    Procedure,
    Stream,
    Trial,
    TrialKind,
)
from threatspec.reports.bundle._checks import Check, found
from threatspec.reports.bundle._matter import Matter, streams_of
from threatspec.schema import Claim, content_id, operands

__all__ = ["cell_checks"]


def cell_checks(matter: Matter) -> Iterator[Check]:
    """Whatever can be said of the plan's cells and trials."""
    text = "every claim has every replicate of every attack on every arm, and no others"
    yield found("cells", _cells(matter), text)
    yield found("seeds", _seeds(matter), "seeds are those that root, replicate and stream give")
    text = "attacks on the subject have the adversary's budget, and others none"
    yield found("budgets", _budgets(matter), text)
    yield found("trials", _trials(matter), "trials do what their cells and measures say")
    yield found("ids", _ids(matter), "cells have the ids of their content, and all are used")


def _pairs(matter: Matter) -> Iterator[tuple[Expanded, PlannedClaim]]:
    for name, one in matter.expanded.items():
        if name in matter.planned:
            yield one, matter.planned[name]


def _attacked(matter: Matter) -> Iterator[tuple[Expanded, PlannedClaim, Arm, Cell]]:
    for one, planned in _pairs(matter):
        for arm, cells in planned.attacked.items():
            for name in cells:
                yield one, planned, arm, matter.plan.cells[name]


# which cells


def _cells(matter: Matter) -> Iterator[str]:
    for one, planned in _pairs(matter):
        for arm, ref in planned.models.items():
            yield from _untouched(matter, one, planned, arm)
            wanted = Counter(_wanted(matter, one))
            cells = [matter.plan.cells[name] for name in planned.attacked.get(arm, ())]
            there = Counter((cell.procedure, cell.replicate) for cell in cells)
            for what, pairs in (("is missing", wanted - there), ("is too many", there - wanted)):
                for procedure, replicate in pairs:
                    yield f"{one.id}: {_name(matter, procedure, replicate)} on {ref} {what}"
            if any(cell.subject != ref for cell in cells):
                yield f"{one.id}: a cell of {ref} is about another model"


def _wanted(matter: Matter, one: Expanded) -> Iterator[tuple[str, int]]:
    for procedure in matter.of(one.claim.against):
        if one.procedure in {None, procedure.name}:
            count = 1 if procedure.deterministic else one.claim.seeds.replicates
            yield from ((procedure.id, replicate) for replicate in range(count))


def _name(matter: Matter, procedure: str, replicate: int) -> str:
    known = matter.plan.procedures.get(procedure)
    return f"replicate {replicate} of {known.name if known else procedure}"


def _untouched(matter: Matter, one: Expanded, planned: PlannedClaim, arm: Arm) -> Iterator[str]:
    cell, ref = matter.plan.cells[planned.untouched[arm]], planned.models[arm]
    if (cell.procedure, cell.subject, cell.replicate) != (UNTOUCHED, ref, 0) or cell.seeds:
        yield f"{one.id}: what is read of {ref} untouched is another cell"


# seeds and budgets


def _seeds(matter: Matter) -> Iterator[str]:
    for one, _, _, cell in _attacked(matter):
        procedure = matter.plan.procedures.get(cell.procedure)
        if procedure is None:
            continue
        root = 0 if procedure.deterministic else one.claim.seeds.root
        if cell.seeds != replicate_seeds(root, cell.replicate, _streams(procedure, cell)):
            yield f"{matter.name(cell)} has other seeds than its replicate gives"


def _streams(procedure: Procedure, cell: Cell) -> Iterable[Stream]:
    streams = streams_of(procedure)
    return cell.seeds if streams is None else streams


def _budgets(matter: Matter) -> Iterator[str]:
    spec = matter.spec
    paid = {
        cell.attack for _, planned, _, cell in _attacked(matter)
        if cell.subject == planned.models[Arm.DEFENDED]
    }  # fmt: skip
    for one, planned, _, cell in _attacked(matter):
        compute = spec.adversaries[one.claim.against].compute
        charged = cell.subject == planned.models[Arm.DEFENDED] or cell.attack in paid
        most = Budget(steps=compute.steps, flops=compute.flops, queries=compute.queries)
        wanted = most if charged else None
        if cell.attack is None or matter.plan.trials[cell.attack].budget != wanted:
            yield f"{matter.name(cell)} has another budget than the adversary"


# what trials do


def _trials(matter: Matter) -> Iterator[str]:
    wanted = _read_by(matter)
    for cell in matter.plan.cells.values():
        name = matter.name(cell)
        if set(cell.measures) != wanted.get(cell.id, set()):
            yield f"{name} reads other measures than its claims need"
        if cell.attack is not None and not _attacks_as_said(matter, cell):
            yield f"the attack of {name} is another one than its procedure says"
        for measure, trials in cell.measures.items():
            yield from (f"{name}, {measure}: {f}" for f in _reading(matter, cell, measure, trials))


def _read_by(matter: Matter) -> dict[str, set[str]]:
    """Measures that every cell must read: what a claim names, and whatever shares its prompts."""
    found: dict[str, set[str]] = {}
    for one, planned in _pairs(matter):
        bare, attacked = (_measures(matter, one.claim, attacked=flag) for flag in (False, True))
        for name in planned.untouched.values():
            found.setdefault(name, set()).update(bare)
        for cells in planned.attacked.values():
            for name in cells:
                found.setdefault(name, set()).update(attacked)
    return found


def _measures(matter: Matter, claim: Claim, *, attacked: bool) -> set[str]:
    own = {
        operand.measure
        for which in ("holds", "counts_if", "provided")
        if (predicate := claim.predicate(which)) and not (attacked and which == "provided")
        for operand in operands(predicate)
        if not (attacked and operand.arm)
    }
    planned = matter.plan.measures
    asked = {(planned[n].benchmark, planned[n].split) for n in own if n in planned}
    return {name for name, one in planned.items() if (one.benchmark, one.split) in asked}


def _attacks_as_said(matter: Matter, cell: Cell) -> bool:
    trial = matter.plan.trials[cell.attack or ""]
    procedure = matter.plan.procedures[cell.procedure]
    work: dict[str, Any] = {
        "attack": procedure.attack,
        "config": procedure.config,
        "data": procedure.data,
        "seeds": {stream.value: seed for stream, seed in cell.seeds.items()},
        **({"trainer": procedure.trainer} if procedure.trainer else {}),
    }
    provides = matter.provides(cell)
    if procedure.trainer and (trial.work.get("provider") if provides is None else provides):
        work["provider"] = True
    done = {key: value for key, value in trial.work.items() if key != "search"}
    planned = procedure.search.model_dump(mode="json") if procedure.search else None
    searched = trial.work.get("search", {}).get("plan")
    return searched == planned and _is(
        matter, trial, TrialKind.ATTACK, cell.subject, (), done, work
    )


def _reading(matter: Matter, cell: Cell, name: str, trials: tuple[str, ...]) -> Iterator[str]:
    """At every look the right prompts are asked of the right subject, and judged as declared."""
    measure, spec = matter.plan.measures[name], matter.spec
    ends = measure.looks if cell.attack else (measure.units,)
    if len(trials) != len(ends):
        yield f"it is read at {len(trials)} looks instead of {len(ends)}"
        return
    prompts = {"benchmark": measure.benchmark, "split": measure.split}
    judging = {
        **prompts, "span": measure.span, "aggregation": measure.aggregation, "judge": measure.judge
    }  # fmt: skip
    serving = [one.model_dump(mode="json") for one in spec.serving]
    asking: dict[str, Any] = {"query": measure.query, "seed": cell.seeds.get(Stream.EVAL, 0)}
    if cell.attack and measure.requests == "plain":
        asking["requests"] = "plain"
    needs = (cell.attack,) if cell.attack else ()
    for start, end, name_of_trial in zip((0, *ends), ends, trials, strict=False):
        judge = matter.plan.trials[name_of_trial]
        if len(judge.needs) != 1 or not _is(
            matter, judge, TrialKind.JUDGE, cell.subject, judge.needs, judge.work, judging
        ):
            yield "it is judged in another way than its measure says"
            continue
        asked = matter.plan.trials[judge.needs[0]]
        work = {**prompts, **asking, "serving": serving, "units": [start, end]}
        if not _is(matter, asked, TrialKind.GENERATE, cell.subject, needs, asked.work, work):
            yield "other prompts are asked, or of another subject, than its measure says"


def _is(
    matter: Matter,
    trial: Trial,
    kind: TrialKind,
    subject: str,
    needs: tuple[str, ...],
    work: dict[str, Any],
    wanted: dict[str, Any],
) -> bool:
    """Beside what is asked for, it may need what its subject is built or repaired by, and
    scores."""
    first = (TrialKind.BUILD, TrialKind.SCORE, TrialKind.REPAIR)
    own = tuple(need for need in trial.needs if matter.plan.trials[need].kind not in first)
    base = subject == trial.subject or subject.startswith(f"{trial.subject}+")
    return (trial.kind, base, own, work) == (kind, True, needs, wanted)


# ids


def _ids(matter: Matter) -> Iterator[str]:
    plan = matter.plan
    for cell in plan.cells.values():
        if cell.id != content_id(
            "cell", [cell.procedure, cell.subject, cell.attack, cell.measures]
        ):
            yield f"{matter.name(cell)} does not have the id of its content"
    claims = plan.claims
    used = {name for one in claims for name in one.untouched.values()}
    used |= {name for one in claims for cells in one.attacked.values() for name in cells}
    yield from (
        f"{matter.name(plan.cells[n])} belongs to no claim" for n in plan.cells.keys() - used
    )
    read = {t for c in plan.cells.values() for trials in c.measures.values() for t in trials}
    read |= {cell.attack for cell in plan.cells.values() if cell.attack}
    read |= {one.trial for planned in plan.instruments.values() for one in planned.readings}
    open_ = list(read)
    while open_:
        trial = plan.trials[open_.pop()]
        more = {*trial.needs, *trial.history} - read
        read |= more
        open_ += more
    yield from (f"trial {name} belongs to no cell" for name in sorted(plan.trials.keys() - read))
    owned = {cell.procedure for cell in plan.cells.values()}
    yield from (f"procedure {name} has no cell" for name in plan.procedures.keys() - owned)
