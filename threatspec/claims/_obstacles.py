"""What stands in the way of SUPPORTED, in plain sentences; their absence supports a claim."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import lru_cache

from threatspec.claims._bounds import Bound, bound_of, distinct_operands
from threatspec.claims._case import Case
from threatspec.claims._evidence import CellState
from threatspec.claims._findings import Findings
from threatspec.claims._liveness import departure
from threatspec.claims._models import CellReading, FlagEffect, MeasureReading, Truth
from threatspec.claims._text import down, listed, plural, up
from threatspec.claims._words import counted, replicate_words, unit_words
from threatspec.records import Procedure
from threatspec.statistics import units_to_refute, units_to_support

__all__ = ["obstacles"]


def obstacles(case: Case, findings: Findings) -> tuple[str, ...]:
    """Everything that support needs and does not have; what is missing first."""
    each = case.view.claim.seeds.rule == "each"
    return (
        *_unfinished(case),
        *_single(case),
        *_gates(case),
        *_controls(case),
        *_departures(case),
        *_uncounted(case),
        *(_straddling(case) if each else _open_series(case, findings)),
        *findings.raised(FlagEffect.BLOCKS),
    )


def _open_series(case: Case, findings: Findings) -> Iterator[str]:
    """Procedures that as a whole are not within what is claimed of seeds."""
    needed = {series.procedure.name for series in case.needed}
    for reading in findings.series:
        if reading.procedure in needed and reading.stands is not Truth.TRUE:
            yield f"`{case.view.claim.holds}` is not decided under {reading.says}"


def _single(case: Case) -> Iterator[str]:
    """Exactly one prompt would be decided by itself, and be no evidence of anything."""
    for operand in distinct_operands(case.view.holds):
        if case.view.evidence.plan.size(operand.reading)[1] == 1:
            yield f"{operand.reading} has one unit, which is no benchmark"


def _unfinished(case: Case) -> Iterator[str]:
    states = Counter(cell.state for cell in case.needed_cells)
    if states[CellState.NOT_RUN]:
        of = f"{states[CellState.NOT_RUN]} of {plural(states.total(), 'planned cell')}"
        yield f"{of} {_has(states[CellState.NOT_RUN])} not been run yet"
    codes = Counter(c.code or "no code" for c in case.needed_cells if c.state is CellState.ERROR)
    if codes:
        how = listed(f"{n} with {code}" for code, n in sorted(codes.items()))
        yield f"{plural(codes.total(), 'cell')} failed: {how}; what was not answered is unknown"
    if states[CellState.INVALID]:
        copies = plural(states[CellState.INVALID], "cell")
        yield f"{copies} used the seeds of another replicate and may not be used"
    if states[CellState.OVER_BUDGET]:
        over = plural(states[CellState.OVER_BUDGET], "cell")
        yield f"{over} ran out of the adversary's budget and may not be used in either direction"


def _gates(case: Case) -> Iterator[str]:
    for gate in case.gates:
        if gate.truth is not Truth.TRUE:
            seen = listed(f"{r.measure} on {counted(case.view, r)}" for r in gate.readings)
            yield (
                f"whether `{gate.predicate}` is true of the untouched {gate.subject} is not "
                f"decided: {seen}"
            )


def _controls(case: Case) -> Iterator[str]:
    for control in case.controls:
        if control.dropped:
            continue
        if Truth.UNDECIDED in {control.reading.breaks, control.reading.live}:
            yield control.reading.says


def _departures(case: Case) -> Iterator[str]:
    for series in case.needed:
        for cell in series.cells:
            found = departure(series.procedure, case.evidence(cell))
            if cell.state is CellState.DONE and found:
                yield f"{_name(series.procedure, cell)} was not executed as planned: {found}"


def _uncounted(case: Case) -> Iterator[str]:
    """Cells of which it is open whether they count, and procedures of which none does."""
    undecided = [cell for cell in _done(case) if cell.counts is Truth.UNDECIDED]
    if undecided:
        yield f"whether `{case.view.claim.counts_if}` is true is open in {_of(case, undecided)}"
    for series in case.needed:
        done = [cell for cell in series.cells if cell.state is CellState.DONE]
        if done and all(cell.counts is Truth.FALSE for cell in done):
            yield f"every finished cell of {series.procedure.name} collapsed, so it shows nothing"


def _straddling(case: Case) -> Iterator[str]:
    view = case.view
    found = [
        cell
        for cell in _done(case)
        if cell.counts is Truth.TRUE and view.stands(cell.holds) is not Truth.TRUE
    ]
    if not found:
        return
    bound = bound_of(case.view.holds)
    text = f"`{case.view.claim.holds}` is not decided in {_of(case, found)}"
    if bound is None:
        yield text
        return
    worst = max(found, key=lambda cell: _badness(bound, cell))
    yield f"{text}; the worst is {_worst(case, bound, worst)}"


def _done(case: Case) -> list[CellReading]:
    cells = (cell for series in case.needed for cell in series.cells)
    return [cell for cell in cells if cell.state is CellState.DONE]


def _has(number: int) -> str:
    return "has" if number == 1 else "have"


def _of(case: Case, cells: list[CellReading]) -> str:
    return f"{len(cells)} of {plural(len(case.cells), 'attacked cell')}"


def _name(procedure: Procedure, cell: CellReading) -> str:
    return f"{procedure.name}{replicate_words(procedure, cell.replicate)}"


def _reading(bound: Bound, cell: CellReading) -> MeasureReading:
    return next(reading for reading in cell.readings if reading.measure == bound.measure)


def _badness(bound: Bound, cell: CellReading) -> float:
    reading = _reading(bound, cell)
    return reading.upper if bound.at_most else -reading.lower


def _worst(case: Case, bound: Bound, cell: CellReading) -> str:
    reading = _reading(bound, cell)
    procedure = case.view.evidence.plan.procedures[case.evidence(cell).cell.procedure]
    return (
        f"{_name(procedure, cell)}: {bound.measure} on {counted(case.view, reading)}, between "
        f"{down(reading.lower)} and {up(reading.upper)}; {_units(case, bound, reading)}"
    )


def _units(case: Case, bound: Bound, reading: MeasureReading) -> str:
    """How many units would decide at the rate that was seen."""
    rate, threshold = reading.tally.rate, bound.threshold
    if not bound.at_most:
        rate, threshold = 1 - rate, 1 - threshold
    supports = rate < threshold
    needed = _needed(rate, threshold, case.view.alpha, 0 if supports else len(case.cells))
    if needed is None:
        return "the share is too near to the bound for any number of prompts to decide"
    units = unit_words(case.view, bound.measure)
    return f"about {needed:,} {units} would {'support' if supports else 'refute'} it at this share"


@lru_cache(maxsize=1024)
def _needed(rate: float, threshold: float, alpha: float, cells: int) -> int | None:
    if cells:
        return units_to_refute(rate, threshold, alpha, cells)
    return units_to_support(rate, threshold, alpha)
