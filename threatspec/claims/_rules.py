"""The rules of a verdict, in their order; the first that applies decides.

For `for: some` SUPPORTED and REFUTED change places: one attack decides for, all together against.

The order and its reasons are in `docs/design/verdicts.md`.
"""

from __future__ import annotations

from dataclasses import dataclass

from threatspec.claims._bounds import arithmetic, bound_of
from threatspec.claims._case import Case
from threatspec.claims._cells import cost
from threatspec.claims._evidence import CellState
from threatspec.claims._governance import expiry
from threatspec.claims._models import Truth, Witness
from threatspec.claims._obstacles import obstacles
from threatspec.claims._scope import honest_claim, witness
from threatspec.claims._some import reached, witness_of
from threatspec.claims._vacuity import vacuities
from threatspec.claims._words import listed, plural
from threatspec.schema import Verdict

__all__ = ["Ruling", "rule"]


@dataclass(frozen=True, slots=True)
class Ruling:
    """A verdict with its reasons."""

    verdict: Verdict
    reasons: tuple[str, ...]
    next_step: str
    witness: Witness | None = None


def rule(case: Case) -> Ruling:
    """The verdict of one claim."""
    one = _reached if case.view.some else _refuted
    for applies in (_unusable, one, _vacuous, _without_control, _expired, _withstood):
        ruling = applies(case)
        if ruling is not None:
            return ruling
    return _inconclusive(case)


def _unusable(case: Case) -> Ruling | None:
    """Validity: no evidence that may be used, or nothing that evidence could speak to."""
    if case.view.stands(arithmetic(case.view.holds)) is Truth.FALSE:
        never = "false" if case.view.some else "true"
        text = f"`{case.view.claim.holds}` cannot be {never}, whatever is measured"
        return Ruling(Verdict.INADMISSIBLE, (text,), "State a bound that could be true.")
    if any(cell.state is not CellState.OVER_BUDGET for cell in case.cells):
        return None
    if not case.cells:
        text = "no attack on the subject is planned"
        return Ruling(Verdict.INADMISSIBLE, (text,), "Give the adversary at least one attack.")
    stopped = plural(len(case.cells), "attacked cell")
    text = f"every attack ran out of the adversary's budget ({stopped}), so none is valid"
    step = "Raise the adversary's `compute`, or plan attacks that stay inside it."
    return Ruling(Verdict.INADMISSIBLE, (text,), step)


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


def _vacuous(case: Case) -> Ruling | None:
    """Evidence that could not have refuted says nothing for the claim."""
    found = vacuities(case)
    if not found:
        return None
    steps = dict.fromkeys(vacuity.remedy for vacuity in found)
    return Ruling(Verdict.VACUOUS, tuple(vacuity.says for vacuity in found), " ".join(steps))


def _without_control(case: Case) -> Ruling | None:
    """Sufficiency: without a control nothing shows that the attacks were alive."""
    if case.view.has_control:
        return None
    text = "no control is declared, so nothing shows that the attacks could have broken anything"
    step = "Declare a `control`: a subject that is safe untouched and must break when attacked."
    return Ruling(Verdict.INADMISSIBLE, (text,), step)


def _expired(case: Case) -> Ruling | None:
    """Sufficiency: evidence is relied on only as long as whoever answers for it says."""
    text = expiry(case.view.evidence)
    if not text:
        return None
    step = "Run the campaign again, with a later `expires` in `governance`."
    return Ruling(Verdict.INADMISSIBLE, (text,), step)


def _withstood(case: Case) -> Ruling | None:
    """The universal side: every planned cell is within its bound, and all else is in order."""
    if obstacles(case):
        return None
    some = case.view.some
    cells = [cell for series in case.needed for cell in series.cells]
    counting = sum(cell.counts is Truth.TRUE for cell in cells)
    verb = "is false" if some else "holds"
    reasons = [f"`{case.view.claim.holds}` {verb} in {_each(counting, 'attacked cell')}"]
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


def _inconclusive(case: Case) -> Ruling:
    found = obstacles(case)
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
