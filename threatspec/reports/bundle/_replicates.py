"""Were replicates run, each for itself, and were attacks applied?"""

from __future__ import annotations

from collections.abc import Iterator

from threatspec.records import Arm, Cell
from threatspec.reports.bundle._checks import Check, found, unknown
from threatspec.reports.bundle._judging import asked_of
from threatspec.reports.bundle._matter import Matter

__all__ = ["replicate_checks"]


def replicate_checks(matter: Matter) -> Iterator[Check]:
    """Copies, and attacks that leave no trace."""
    text = "no replicate that trained is a copy of another"
    yield found("replicates", _copied(matter), text)
    yield from _inert(matter)


def _copied(matter: Matter) -> Iterator[str]:
    known: dict[object, Cell] = {}
    for cell in matter.plan.cells.values():
        result = matter.done.get(cell.attack or "")
        if result is None or not result.realised or not cell.seeds:
            continue
        runs = tuple(run.model_dump_json() for run in result.realised)
        print_ = (cell.procedure, cell.subject, runs, _said(matter, cell))
        other = known.setdefault(print_, cell)
        if other is not cell and other.seeds != cell.seeds:
            yield (
                f"{matter.name(cell)} trained and answered as replicate {other.replicate} did, to "
                "the last digit: it is a copy, or its seeds change nothing"
            )


def _said(matter: Matter, cell: Cell) -> tuple[tuple[str, bytes], ...]:
    """What a cell replied, as far as it was asked."""
    asked = (
        (f"{name}/{look}", asked_of(matter, judge).replies)
        for name, trials in sorted(cell.measures.items())
        for look, judge in enumerate(trials)
    )
    return tuple(pair for pair in asked if pair[1])


def _inert(matter: Matter) -> Iterator[Check]:
    """An attack that was never applied leaves the replies of the untouched subject."""
    bare = {c.subject: _prompts(matter, c) for c in matter.plan.cells.values() if c.attack is None}
    same = []
    for cell in _deciding(matter):
        result = matter.done.get(cell.attack or "")
        if result is not None and result.blocked:  # its provider trained nothing, as it says
            continue
        own = _prompts(matter, cell)
        untouched = bare.get(cell.subject, {})
        if own and all(untouched.get(key) == reply for key, reply in own.items()):
            same.append(matter.name(cell))
    if same:
        more = f" and {len(same) - 1} more" if len(same) > 1 else ""
        text = (
            f"{same[0]}{more} replied as the untouched subject did to every prompt, word for word"
        )
        yield unknown("attacks were applied", f"{text}; it held, or nothing was applied")


def _deciding(matter: Matter) -> list[Cell]:
    """Attacked cells of subjects and controls; those of the undefended arm decide nothing."""
    arms = (Arm.DEFENDED, Arm.CONTROL)
    names = (n for claim in matter.plan.claims for a in arms for n in claim.attacked.get(a, ()))
    return [matter.plan.cells[name] for name in dict.fromkeys(names)]


def _prompts(matter: Matter, cell: Cell) -> dict[tuple[str, str], bytes]:
    return {
        (name, item): line.reply(place)
        for name, trials in cell.measures.items()
        for judge in trials
        for line in [asked_of(matter, judge)]
        for place, item in enumerate(line.items)
    }
