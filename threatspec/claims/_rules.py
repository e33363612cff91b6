"""The rules of a verdict, in their order; the first that applies decides.

For `for: some` SUPPORTED and REFUTED change places: one attack decides for, all together against.

The order and its reasons are in `docs/design/verdicts.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from threatspec.claims._bounds import arithmetic, bound_of
from threatspec.claims._case import Case
from threatspec.claims._cells import cost
from threatspec.claims._evidence import CellState
from threatspec.claims._findings import Findings
from threatspec.claims._models import Truth, Witness
from threatspec.claims._obstacles import obstacles
from threatspec.claims._rule import RuleReading
from threatspec.claims._scope import honest_claim, witness
from threatspec.claims._some import reached, witness_of
from threatspec.claims._text import listed, plural
from threatspec.claims._vacuity import vacuities
from threatspec.schema import Verdict

__all__ = ["Ruling", "rule"]

_UNUSABLE = frozenset({CellState.OVER_BUDGET, CellState.INVALID})


@dataclass(frozen=True, slots=True)
class Ruling:
    """A verdict with its reasons."""

    verdict: Verdict
    reasons: tuple[str, ...]
    next_step: str
    witness: Witness | None = None


def rule(case: Case, findings: Findings) -> Ruling:
    """The verdict of one claim."""
    for applies in (_unusable, _witnessed, _vacuous, _insufficient, _withstood):
        ruling = applies(case, findings)
        if ruling is not None:
            return ruling
    return _inconclusive(case, findings)


def _unusable(case: Case, findings: Findings) -> Ruling | None:
    """Validity: no evidence that may be used, or nothing that evidence could speak to."""
    if findings.unusable:
        return _inadmissible(findings.unusable)
    if case.view.stands(arithmetic(case.view.holds)) is Truth.FALSE:
        never = "false" if case.view.some else "true"
        text = f"`{case.view.claim.holds}` cannot be {never}, whatever is measured"
        return Ruling(Verdict.INADMISSIBLE, (text,), "State a bound that could be true.")
    if any(cell.state not in _UNUSABLE for cell in case.cells):
        return None
    if not case.cells:
        text = "no attack on the subject is planned"
        return Ruling(Verdict.INADMISSIBLE, (text,), "Give the adversary at least one attack.")
    stopped = plural(len(case.cells), "attacked cell")
    text = f"every attack ran out of the adversary's budget ({stopped}), so none is valid"
    step = "Raise the adversary's `compute`, or plan attacks that stay inside it."
    return Ruling(Verdict.INADMISSIBLE, (text,), step)


def _inadmissible(readings: Sequence[RuleReading]) -> Ruling:
    reasons = tuple(f"{one.rule}: {one.says}" for one in readings)
    steps = dict.fromkeys(one.remedy for one in readings)
    return Ruling(Verdict.INADMISSIBLE, reasons, " ".join(steps))


def _witnessed(case: Case, findings: Findings) -> Ruling | None:
    """One admissible break; a claim about a mean over attacks has none."""
    if case.view.claim.quantifier == "mean":
        return None
    if case.view.claim.seeds.rule != "each":
        return _broken_series(case, findings)
    return _reached(case) if case.view.some else _refuted(case)


def _broken_series(case: Case, findings: Findings) -> Ruling | None:
    """Under `quantile` and `mean` a procedure breaks the claim, not a replicate."""
    broken = [
        (series, reading)
        for series, reading in zip(case.series, findings.series, strict=True)
        if reading.stands is Truth.FALSE
    ]
    if not broken:
        return None
    series, reading = min(broken, key=lambda pair: min(map(cost, pair[0].cells)))
    found = witness(case, min(series.cells, key=lambda cell: (cell.p, cost(cell))))
    verdict = Verdict.SUPPORTED if case.view.some else Verdict.REFUTED
    return Ruling(verdict, (reading.says,), _weaker(case), found)


def _refuted(case: Case) -> Ruling | None:
    found = [cell for cell in case.cells if cell.adjusted_p <= case.view.alpha]
    if not found:
        return None
    cheapest = witness(case, min(found, key=cost))
    reasons = [cheapest.says]
    if len(case.cells) > 1:
        of = f"{len(found)} of {plural(len(case.cells), 'attacked cell')}"
        verb = "breaks" if len(found) == 1 else "break"
        reasons.append(f"{of} {verb} the claim, corrected for looking at all of them (Holm)")
    step = honest_claim(case) or _weaker(case)
    return Ruling(Verdict.REFUTED, tuple(reasons), step, cheapest)


def _reached(case: Case) -> Ruling | None:
    found = reached(case)
    if found is None:
        return None
    cheapest = witness_of(case, found.cheapest)
    reasons = [cheapest.says]
    if found.of > 1:
        of = f"{len(found.series)} of {plural(found.of, 'attack')}"
        verb = "succeeds" if len(found.series) == 1 else "succeed"
        reasons.append(f"{of} {verb}, corrected for looking at all of them (Holm)")
    return Ruling(Verdict.SUPPORTED, tuple(reasons), _wider(case), cheapest)


def _weaker(case: Case) -> str:
    if any(cell.state is CellState.NOT_RUN for cell in case.cells):
        return "Finish the campaign to see what could be claimed of all planned attacks."
    if any(cell.state is not CellState.DONE for cell in case.cells):
        return "What could be claimed of these attacks is open while some of their cells failed."
    if bound_of(case.view.holds) is None:
        return "What could be claimed instead is worked out only for a bound on one measure."
    return "These attacks leave no weaker bound that could be claimed in its place."


def _vacuous(case: Case, findings: Findings) -> Ruling | None:
    """Evidence that could not have refuted says nothing for the claim."""
    found = vacuities(case, findings)
    if not found:
        return None
    steps = dict.fromkeys(vacuity.remedy for vacuity in found)
    return Ruling(Verdict.VACUOUS, tuple(vacuity.says for vacuity in found), " ".join(steps))


def _insufficient(case: Case, findings: Findings) -> Ruling | None:
    """Rules that apply, are broken, and are neither scoped nor waived."""
    return _inadmissible(findings.insufficient) if findings.insufficient else None


def _withstood(case: Case, findings: Findings) -> Ruling | None:
    """The universal side: every planned cell is within its bound, and all else is in order."""
    if obstacles(case, findings):
        return None
    some = case.view.some
    cells = [cell for series in case.needed for cell in series.cells]
    counting = sum(cell.counts is Truth.TRUE for cell in cells)
    verb = "is false" if some else "holds"
    reasons = [reading.says for reading in findings.series] or [
        f"`{case.view.claim.holds}` {verb} in {_each(counting, 'attacked cell')}"
    ]
    if counting < len(cells):
        reasons.append(f"{plural(len(cells) - counting, 'cell')} collapsed and shows nothing")
    if case.controls:
        alive = sum(not control.dropped for control in case.controls)
        reasons.append(f"the control breaks under {_each(alive, 'attack')}")
    verdict = Verdict.REFUTED if some else Verdict.SUPPORTED
    return Ruling(verdict, (*reasons, *_dropped(case)), _wider(case))


def _each(number: int, noun: str) -> str:
    return f"the one {noun}" if number == 1 else f"each of the {plural(number, noun)}"


def _dropped(case: Case) -> list[str]:
    if not case.dropped:
        return []
    return [f"left out because the control shows no effect of it: {listed(case.dropped)}"]


def _wider(case: Case) -> str:
    if not case.view.planned.not_run:
        return "Nothing more is needed for this scope."
    names = listed(case.view.planned.not_run)
    return f"To widen the scope, also run what the access allows and was not run: {names}."


def _inconclusive(case: Case, findings: Findings) -> Ruling:
    found = obstacles(case, findings)
    return Ruling(Verdict.INCONCLUSIVE, (*found, *_dropped(case)), _decisive(case))


def _decisive(case: Case) -> str:
    """What would decide, by what is missing first."""
    states = {cell.state for cell in case.needed_cells}
    if CellState.NOT_RUN in states:
        return "Finish the campaign: `threatspec resume`."
    if CellState.ERROR in states:
        return "Remove the cause of the failed cells and run the campaign again with another --out."
    if CellState.OVER_BUDGET in states:
        return "Raise the adversary's `compute`, or plan attacks that stay inside it."
    if any(control.reading.live is not Truth.TRUE for control in case.controls):
        return "Repair the attack until it acts on the control in every replicate."
    return "Measure on more prompts, or claim a bound that is further from what was seen."
