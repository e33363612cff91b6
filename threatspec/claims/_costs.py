"""What it costs to break a subject: the best attack so far against spend, censored where none did.

Rates are observed ones and for display; whether a cell breaks `holds` is the exact decision.
"""

from __future__ import annotations

from collections.abc import Iterator

from threatspec.claims._bounds import Bound, bound_of
from threatspec.claims._case import Case
from threatspec.claims._cells import cost, read_family
from threatspec.claims._evidence import CellState
from threatspec.claims._models import CellReading, CostCurve, CostPoint, Truth
from threatspec.records import UNTOUCHED, Arm

__all__ = ["cost_curves"]


def cost_curves(case: Case) -> tuple[CostCurve, ...]:
    """Of the subject, the control and the undefended model.

    None if `holds` is not one bound, or where single replicates break nothing.
    """
    bound = bound_of(case.view.holds)
    if bound is None or case.view.claim.seeds.rule != "each":
        return ()
    arms = (Arm.DEFENDED, Arm.CONTROL, Arm.UNDEFENDED)
    found = (_curve(case, bound, arm) for arm in arms if case.view.untouched(arm))
    return tuple(curve for curve in found if curve.points)


def _curve(case: Case, bound: Bound, arm: Arm) -> CostCurve:
    cells = case.cells if arm is Arm.DEFENDED else read_family(case.view, arm)
    run = sorted((c for c in cells if c.state is not CellState.NOT_RUN), key=cost)
    broken = [c.spend.flops for c in run if c.adjusted_p <= case.view.alpha]
    if _broken_untouched(case, arm):
        broken.insert(0, 0.0)
    return CostCurve(
        arm=arm,
        subject=case.view.planned.models[arm],
        points=tuple(_points(case, bound, arm, run)),
        broken_at=min(broken, default=0.0),
        censored=not broken,
        tried=max((c.spend.flops for c in run), default=0.0),
    )


def _broken_untouched(case: Case, arm: Arm) -> bool:
    cell = case.view.untouched(arm)
    if cell is None or not cell.usable:
        return False
    return case.view.break_p(case.view.lookup(cell, arm)) <= case.view.alpha


def _points(case: Case, bound: Bound, arm: Arm, run: list[CellReading]) -> Iterator[CostPoint]:
    high = bound.at_most != case.view.some
    best = _untouched_rate(case, bound, arm)
    if best is None:
        return
    yield CostPoint(flops=0.0, steps=0, rate=best, procedure=UNTOUCHED, replicate=0)
    for cell in run:
        rate = _rate(cell, bound)
        if rate is None or cell.counts is Truth.FALSE or (rate <= best if high else rate >= best):
            continue
        best = rate
        yield CostPoint(
            flops=cell.spend.flops,
            steps=cell.spend.steps,
            rate=rate,
            procedure=cell.procedure,
            replicate=cell.replicate,
        )


def _untouched_rate(case: Case, bound: Bound, arm: Arm) -> float | None:
    cell = case.view.untouched(arm)
    if cell is None or cell.state is not CellState.DONE:
        return None
    return case.view.tally(cell, bound.measure).rate


def _rate(cell: CellReading, bound: Bound) -> float | None:
    return next((r.tally.rate for r in cell.readings if r.measure == bound.measure), None)
