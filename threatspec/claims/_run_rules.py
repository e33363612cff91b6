"""Rules of admissibility that only a run can break; those of the design are in `_design_rules`."""

from __future__ import annotations

from collections.abc import Iterator

from threatspec.claims._bounds import distinct_operands
from threatspec.claims._case import Case
from threatspec.claims._evidence import CellEvidence, CellState
from threatspec.claims._text import listed, plural
from threatspec.records import Arm, Realised
from threatspec.schema import Operand

__all__ = ["Breach", "run_breaches"]

Breach = tuple[str, str]
"""Code of a rule, and what breaks it."""
_MOST_MISSING = 0.05


def run_breaches(case: Case) -> tuple[Breach, ...]:
    """Everything that a run did not do as the rules ask."""
    return (
        *(("TS-R1c", says) for says in (*_reused_seeds(case), *_copied_training(case))),
        *(("TS-R2b", says) for says in _unrecorded(case)),
        *(("TS-R5c", says) for says in _unaudited(case)),
        *(("TS-R5d", says) for says in _mixed(case)),
        *(("TS-R5e", says) for says in _missing(case)),
        *(("TS-R8c", says) for says in _changed(case)),
    )


def _copied_training(case: Case) -> Iterator[str]:
    """Replicates that trained alike to the last digit are one replicate, whatever their seeds."""
    for series in case.needed:
        runs = [_fingerprint(case.evidence(cell)) for cell in series.cells]
        done = [run for run in runs if run]
        if len(set(done)) < len(done):
            yield (
                f"{len(done)} replicates of {series.procedure.name} trained in only "
                f"{plural(len(set(done)), 'different way')}: their seeds change nothing"
            )


def _fingerprint(cell: CellEvidence) -> tuple[object, ...]:
    return tuple(_curve(run) for run in cell.realised)


def _curve(run: Realised) -> tuple[object, ...]:
    return run.loss, run.grad_norm, run.weight_delta, run.probe_before, run.probe_after


def _reused_seeds(case: Case) -> Iterator[str]:
    copies = [c for c in case.cells if c.state is CellState.INVALID]
    if copies:
        names = listed(dict.fromkeys(f"{c.procedure} (replicate {c.replicate})" for c in copies))
        yield f"{names} used a seed again that another replicate had used"


def _unrecorded(case: Case) -> Iterator[str]:
    for series in case.needed:
        short = [cell for cell in series.cells if _torn(case.evidence(cell))]
        if short:
            yield (
                f"what training really did is not recorded step by step in "
                f"{plural(len(short), 'cell')} of {series.procedure.name}"
            )


def _torn(cell: CellEvidence) -> bool:
    return any(
        not (run.steps == len(run.lr) == len(run.loss) == len(run.loss_tokens))
        for run in cell.realised
    )


def _unaudited(case: Case) -> Iterator[str]:
    """Every judge that the verdict relies on, wherever it is read: gates and controls too."""
    view = case.view
    blind = dict.fromkeys(
        (operand.reading, _replies(case, cell))
        for cell, operand in _relied_on(case)
        if view.blind(operand.reading, cell, audited=view.claim.seeds.rule != "mean")
    )
    for reading in dict.fromkeys(name for name, _ in blind):
        judge = view.evidence.plan.measures[reading.partition("[")[0]].judge.get("use")
        where = listed(replies for name, replies in blind if name == reading)
        yield (
            f"how the judge {judge} of {reading} errs is not known of replies {where}: nobody "
            "labelled them, and no calibration is for them"
        )


def _replies(case: Case, cell: CellEvidence) -> str:
    procedure = case.view.evidence.plan.procedures.get(cell.cell.procedure)
    return f"of {cell.cell.subject} {f'under {procedure.name}' if procedure else 'untouched'}"


def _relied_on(case: Case) -> Iterator[tuple[CellEvidence, Operand]]:
    """What is read, and on which cell."""
    view = case.view
    read = [
        *((cell, Arm.DEFENDED, view.counts_if) for cell in _needed(case)),
        *((cell, Arm.DEFENDED, view.holds) for cell in _needed(case)),
        *((cell, Arm.CONTROL, view.holds) for cell in view.attacked(Arm.CONTROL)),
        (view.untouched(Arm.DEFENDED), Arm.DEFENDED, view.claim.predicate("provided")),
        (view.untouched(Arm.CONTROL), Arm.CONTROL, view.holds),
    ]
    for cell, arm, predicate in read:
        for operand in distinct_operands(predicate) if predicate and cell else ():
            place = view.place(operand, cell, arm) if cell else None
            if place is not None:
                yield place, operand


def _needed(case: Case) -> Iterator[CellEvidence]:
    return (case.evidence(cell) for series in case.needed for cell in series.cells)


def _mixed(case: Case) -> Iterator[str]:
    """Trials must ask and judge what their measure says."""
    plan = case.view.evidence.plan
    for cell in case.needed_cells:
        for name, trials in cell.cell.measures.items():
            measure = plan.measures[name]
            wanted = (measure.benchmark, measure.split, measure.judge, measure.span)
            found = [plan.trials[trial].work for trial in trials if trial in plan.trials]
            keys = ("benchmark", "split", "judge", "span")
            if any(tuple(work.get(key) for key in keys) != wanted for work in found):
                yield f"rows of {name} in {cell.cell.id} were not judged as the measure says"
                return


def _missing(case: Case) -> Iterator[str]:
    """Of cells that ended well; one that failed can be run again, and says nothing until then."""
    names = dict.fromkeys(o.reading for o in distinct_operands(case.view.holds) if not o.arm)
    worst = [
        (reading.tally.unknown / reading.tally.units, series.procedure.name, reading)
        for series in case.needed
        for cell in series.cells
        if cell.state is CellState.DONE
        for reading in cell.readings
        if reading.measure in names and reading.tally.units
    ]
    share, procedure, reading = max(worst, key=lambda entry: entry[0], default=(0.0, "", None))
    if reading is not None and share > _MOST_MISSING:
        yield (
            f"{reading.tally.unknown} of {reading.tally.units} units of {reading.measure} have no "
            f"answer under {procedure} ({share:.1%}; at most {_MOST_MISSING:.0%})"
        )


def _changed(case: Case) -> Iterator[str]:
    evidence, registered = case.view.evidence, case.view.evidence.registration
    if not registered.plan:
        return
    name = case.view.planned.id
    if registered.claims.get(name) != evidence.claim_digests[name]:
        yield "the claim is not the one that was registered before the run"
    elif registered.plan != evidence.plan_id:
        yield "the plan is not the one that was registered before the run"
    elif registered.first_row_at and registered.frozen_at > registered.first_row_at:
        yield "the plan was registered after the first prompts had been read"
