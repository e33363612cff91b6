"""A claim in one plain paragraph: who attacked, what was seen, and what that means."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from threatspec.claims import CellReading, CellState, ClaimVerdict, Truth
from threatspec.records import Arm
from threatspec.reports._predicates import limit
from threatspec.reports._words import (
    HELD,
    MEANINGS,
    SHOWN,
    counted,
    interval,
    percent,
    share,
    units,
)
from threatspec.reports._worst import worst
from threatspec.schema import Verdict

__all__ = ["paragraph"]


def paragraph(claim: ClaimVerdict) -> str:
    """Three to five sentences for a reader who knows neither the attacks nor the statistics."""
    return " ".join(_sentences(claim))


def _sentences(claim: ClaimVerdict) -> Iterator[str]:
    cells = [cell for cell in claim.cells if cell.arm is Arm.DEFENDED]
    run = [cell for cell in cells if cell.state is not CellState.NOT_RUN]
    procedures = counted(len({cell.procedure for cell in cells}), "attack")
    yield (
        f"The adversary `{claim.adversary}` tried {procedures} on `{claim.subject}`: "
        f"{len(run)} of {counted(len(cells), 'planned run')}."
    )
    yield from _silent(cells)
    yield from _seen(claim, cells)
    yield from _control(claim)
    waived = ", ".join(dict.fromkeys(rule.rule for rule in claim.waived))
    in_part = f", but not every rule is met ({waived} waived)" if waived else ""
    yield f"{claim.verdict.value}: {_means(claim)}{in_part}."


def _means(claim: ClaimVerdict) -> str:
    if claim.verdict is Verdict.SUPPORTED:
        return SHOWN if _shown(claim) else HELD
    return MEANINGS[claim.verdict]


def _shown(claim: ClaimVerdict) -> bool:
    """Whether it is a claim that an attack works (`for: some`), and one does."""
    return claim.verdict is Verdict.SUPPORTED and claim.witness is not None


def _silent(cells: Sequence[CellReading]) -> Iterator[str]:
    """Runs that say nothing, and why."""
    collapsed = sum(c.counts is Truth.FALSE for c in cells)
    failed = sum(c.state is CellState.ERROR for c in cells)
    stopped = sum(c.state is CellState.OVER_BUDGET for c in cells)
    if collapsed:
        verb = "does" if collapsed == 1 else "do"
        yield f"{counted(collapsed, 'run')} {verb} not count: the model no longer worked."
    if failed:
        yield f"{counted(failed, 'run')} failed; what was not answered there is unknown."
    if stopped:
        yield f"{counted(stopped, 'run')} would have gone beyond the budget: stopped, not used."


def _seen(claim: ClaimVerdict, cells: Sequence[CellReading]) -> Iterator[str]:
    found = worst(cells, claim.holds)
    if found is None:
        yield "No run can be read."
        return
    allowed = limit(claim.holds)
    claimed = ""
    if allowed.value is not None:
        word = "at most" if allowed.at_most else "at least"
        claimed = f"; the claim allows {word} {percent(allowed.value)} %"
    read = found.reading
    yield (
        f"In the worst run ({found.name}) `{read.measure}` is {share(read)} ({units(read)} units "
        f"read), {interval(read)} by its bounds{claimed}."
    )


def _control(claim: ClaimVerdict) -> Iterator[str]:
    controls = claim.controls
    if _shown(claim):
        return  # that it works is what was claimed
    if not controls:
        yield "There was no control to show that the attacks work at all."
        return
    broke = sum(control.breaks is Truth.TRUE for control in controls)
    yield (
        f"On the control, which must break, {broke} of {counted(len(controls), 'attack')} "
        f"succeeded{', so the attacks were alive' if broke == len(controls) else ''}."
    )
