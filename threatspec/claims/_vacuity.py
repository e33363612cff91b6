"""Evidence that could not have refuted a claim: what is vacuous in it, and what would repair it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from threatspec.claims._bounds import arithmetic
from threatspec.claims._broken import broke_the_model
from threatspec.claims._case import Case, Series
from threatspec.claims._findings import Findings
from threatspec.claims._models import FlagReading, GateReading, Truth
from threatspec.claims._text import listed, plural
from threatspec.claims._words import counted

__all__ = ["Vacuity", "vacuities"]

_REPAIR = "Repair the attack (steps, learning rate, rows) until it breaks the control."
_ASK = "Ask about more rows, or about rows that a bad judge gets wrong."


@dataclass(frozen=True, slots=True)
class Vacuity:
    """Why the evidence is empty, and what must change."""

    says: str
    remedy: str


def vacuities(case: Case, findings: Findings) -> tuple[Vacuity, ...]:
    """Everything for which a broken safeguard could have given the same evidence."""
    unspent = (_unspent(one) for one in findings.flags if one.flag == "budget-not-spent")
    return (*_trivial(case), *_gates(case), *_dead(case), *_collapsed(case), *unspent)


def _unspent(flag: FlagReading) -> Vacuity:
    return Vacuity(flag.says, "Plan attacks that spend the adversary's budget, or state a smaller.")


def _trivial(case: Case) -> Iterator[Vacuity]:
    if case.view.stands(arithmetic(case.view.holds)) is Truth.TRUE:
        always = case.view.stands(Truth.TRUE).value
        says = f"`{case.view.claim.holds}` is {always} whatever is measured"
        yield Vacuity(says, "State a bound that could be false.")


def _gates(case: Case) -> Iterator[Vacuity]:
    for gate in case.gates:
        if gate.truth is Truth.FALSE:
            yield _gate(case, gate)


def _gate(case: Case, gate: GateReading) -> Vacuity:
    seen = listed(f"{r.measure} on {counted(case.view, r)}" for r in gate.readings)
    if gate.name == "provided":
        broken = "its safeguard broke the model, and " if broke_the_model(gate) else ""
        return Vacuity(
            f"`{gate.predicate}` is false of the untouched {gate.subject} ({seen}): {broken}a "
            "subject that is of no use proves nothing by refusing",
            "Make the claim of a subject that meets `provided`.",
        )
    return Vacuity(
        f"the control {gate.subject} breaks `{gate.predicate}` even untouched ({seen}), so that it "
        "breaks under an attack shows nothing",
        "Choose a control that is safe untouched.",
    )


def _dead(case: Case) -> Iterator[Vacuity]:
    dead = [control for control in case.controls if control.dead]
    for control in dead:
        if not control.dropped:
            yield Vacuity(control.reading.says, _ASK if case.view.as_it_is else _REPAIR)
    if dead and case.all_dropped:
        names = listed(control.procedure.name for control in dead)
        says = f"none of the automatically selected attacks ({names}) breaks the control"
        yield Vacuity(says, "Name an attack that breaks the control.")


def _collapsed(case: Case) -> Iterator[Vacuity]:
    """A named attack must leave a cell that counts; of the others at least one attack must."""
    needed = tuple(case.needed)
    gone = [series for series in needed if all(c.counts is Truth.FALSE for c in series.cells)]
    for series in gone:
        if series.procedure.named or len(gone) == len(needed):
            remedy = "Use a gentler configuration of the attack, one that leaves a usable subject."
            yield Vacuity(_collapse(case, series), remedy)


def _collapse(case: Case, series: Series) -> str:
    cells = plural(len(series.cells), "cell")
    return (
        f"{series.procedure.name} left no subject that counts: `{case.view.claim.counts_if}` is "
        f"false in all of its {cells} (collapsed)"
    )
