"""What would have changed a verdict: how near the evidence came to saying something else."""

from __future__ import annotations

from collections.abc import Callable

from threatspec.claims._bounds import Bound, bound_of
from threatspec.claims._case import Case
from threatspec.claims._models import CellReading, MeasureReading, Truth
from threatspec.claims._tally import Tally
from threatspec.claims._words import replicate_words, unit_words
from threatspec.schema import Verdict

__all__ = ["turning"]


def turning(case: Case, verdict: Verdict) -> str:
    """One sentence; "" where the next step says it, or where `holds` is more than one bound."""
    bound = bound_of(case.view.holds)
    plain = case.view.claim.seeds.rule == "each" and not case.view.some
    if bound is None or not plain or verdict not in {Verdict.SUPPORTED, Verdict.REFUTED}:
        return ""
    supported = verdict is Verdict.SUPPORTED
    cells = [cell for cell in case.cells if cell.counts is Truth.TRUE and _reading(bound, cell)]
    if not cells:
        return ""
    sign = 1 if bound.at_most else -1
    cell = max(cells, key=lambda one: sign * _of(bound, one).tally.rate)
    number = _number(case, bound, _of(bound, cell).tally, refuting=supported)
    return _says(case, bound, cell, number, supported) if number is not None else ""


def _says(case: Case, bound: Bound, cell: CellReading, number: int, supported: bool) -> str:
    tally = _of(bound, cell).tally
    procedure = case.view.evidence.plan.procedures[case.evidence(cell).cell.procedure]
    where = f"{procedure.name}{replicate_words(procedure, cell.replicate)}"
    units = unit_words(case.view, bound.measure)
    more = "at least" if bound.at_most == supported else "at most"
    seen = f"{tally.yes} of {tally.units} {units}"
    if supported:
        return (
            f"{more.capitalize()} {number} instead of {seen} under {where} would have refuted it."
        )
    return (
        f"It would have taken {more} {number} instead of {seen} under {where}, the attack that "
        "did most, for this cell to hold."
    )


def _number(case: Case, bound: Bound, tally: Tally, *, refuting: bool) -> int | None:
    """The yes count, nearest to what was seen, at which the cell would have decided otherwise."""
    alpha = case.view.alpha / len(case.cells) if refuting else case.view.support_alpha
    limit, high = bound.threshold, bound.at_most == refuting
    counts = range(tally.units + 1) if high else range(tally.units, -1, -1)

    def decides(yes: int) -> bool:
        found = tally.model_copy(update={"yes": yes, "unknown": 0}).bounds(alpha)
        if refuting:
            return found.lower > limit if bound.at_most else found.upper < limit
        return found.upper <= limit if bound.at_most else found.lower >= limit

    return _first(list(counts), decides)


def _first(counts: list[int], decides: Callable[[int], bool]) -> int | None:
    """The first count that decides, of a condition that stays true once it is."""
    low, high = 0, len(counts)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if decides(counts[middle]) else (middle + 1, high)
    return counts[low] if low < len(counts) else None


def _reading(bound: Bound, cell: CellReading) -> MeasureReading | None:
    return next((r for r in cell.readings if r.measure == bound.measure), None)


def _of(bound: Bound, cell: CellReading) -> MeasureReading:
    return next(r for r in cell.readings if r.measure == bound.measure)
