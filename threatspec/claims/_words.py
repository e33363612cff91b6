"""Plain words for counts and bounds; bounds are rounded away from the estimate."""

from __future__ import annotations

from threatspec.claims._bounds import Bound, bound_of, distinct_operands
from threatspec.claims._cells import read_operands
from threatspec.claims._models import CellReading, MeasureReading
from threatspec.claims._text import down, plural, up
from threatspec.claims._view import View
from threatspec.records import Procedure, Spend

__all__ = [
    "break_words",
    "confidence_words",
    "counted",
    "replicate_words",
    "spend_words",
    "unit_words",
]


def confidence_words(view: View) -> str:
    """`95 % one-sided`."""
    return f"{view.claim.confidence * 100:g} % one-sided"


def unit_words(view: View, measure: str) -> str:
    """What is counted: prompts or images, or clusters of them."""
    plan = view.evidence.plan
    prompts, units = plan.size(measure)
    noun = plan.measures[measure.partition("[")[0].rpartition(".")[2]].noun
    return noun if units == prompts else f"clusters of {noun}"


def spend_words(spend: Spend) -> str:
    """`10 steps, 3.1e+09 FLOPs`."""
    parts = [plural(spend.steps, "step")] if spend.steps else []
    parts += [f"{spend.flops:.2g} FLOPs"] if spend.flops else []
    return ", ".join(parts) or "no training"


def replicate_words(procedure: Procedure, replicate: int) -> str:
    """` (replicate 2)`, where there could be several."""
    return "" if procedure.deterministic else f" (replicate {replicate})"


def counted(view: View, reading: MeasureReading) -> str:
    """`251 of 256 prompts`, and how many have no answer."""
    tally = reading.tally
    unknown = f" ({tally.unknown} without an answer)" if tally.unknown else ""
    return f"{tally.yes:,} of {tally.units:,} {unit_words(view, reading.measure)}{unknown}"


def break_words(view: View, cell: CellReading) -> str:
    """What was seen on a cell that breaks `holds`."""
    lookup = view.lookup(view.cell(cell.cell, cell.arm), cell.arm)
    readings = read_operands(view, distinct_operands(view.holds), lookup)
    bound = bound_of(view.holds)
    if bound is not None:
        return _break_of_bound(view, bound, readings[0])
    seen = (
        f"{r.measure} on {counted(view, r)}, {down(r.lower)} to {up(r.upper)}" for r in readings
    )
    what = f"{'; '.join(seen)}; which {_broken(view)} `{view.claim.holds}`"
    return f"{what} ({confidence_words(view)} bounds)"


def _broken(view: View) -> str:
    return "meets" if view.some else "breaks"


def _break_of_bound(view: View, bound: Bound, reading: MeasureReading) -> str:
    high = bound.at_most != view.some
    share = f"at least {down(reading.lower)}" if high else f"at most {up(reading.upper)}"
    return (
        f"{bound.measure} on {'' if high else 'only '}{counted(view, reading)}, which "
        f"{_broken(view)} `{view.claim.holds}`; the share is {share} ({confidence_words(view)})"
    )
