"""Are equal replies judged alike, wherever they stand?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from threatspec.reports.bundle._checks import Check, found, unknown
from threatspec.reports.bundle._lines import ReplyHashes
from threatspec.reports.bundle._matter import Matter

__all__ = ["FUNCTIONS", "asked_of", "is_function", "judging_check"]

FUNCTIONS = frozenset(
    {"agreement", "answered", "choice", "degenerate", "exact", "keywords", "refusal-keywords",
     "target-class"}
)  # fmt: skip
"""Judges that say the same of the same reply, whenever they are asked."""


def is_function(judge: Mapping[str, Any]) -> bool:
    """Whether a measure's judge can be asked again from what a bundle holds: no file, no model."""
    return judge.get("use") in FUNCTIONS and not judge.get("settings", {}).get("file")


def judging_check(matter: Matter) -> Check:
    """A judge that is a function cannot say two things of one reply."""
    judges = {n: m.judge.get("use", "") for n, m in matter.plan.measures.items()}
    faults = [f for name, use in judges.items() if use in FUNCTIONS for f in _torn(matter, name)]
    strange = sorted({use for use in judges.values() if use not in FUNCTIONS})
    if strange and not faults:
        text = (
            f"{', '.join(strange)} may judge one reply in two ways, so outcomes cannot be compared"
        )
        return unknown("judging", text)
    return found("judging", faults, "equal replies to one prompt are judged alike everywhere")


def _torn(matter: Matter, name: str) -> Iterator[str]:
    """Prompts of a measure at which the same reply was judged in two ways."""
    whole = matter.plan.measures[name].span == "all"
    for trials in _alike(matter, name):
        rows = [(matter.bundle.marks[t], asked_of(matter, t)) for t in trials]
        for place, item in enumerate(matter.bundle.items[trials[0]]):
            seen: dict[bytes, int] = {}
            for marks, line in rows:
                judged = line.reply(place) + (line.written(place) if whole else b"")
                if seen.setdefault(judged, marks[place]) != marks[place]:
                    yield f"one reply to {item} is judged in two ways by {name}"
                    break


def _alike(matter: Matter, name: str) -> list[list[str]]:
    """Judging trials of a measure with outcomes, by the prompts that they are about."""
    bundle, found = matter.bundle, dict[tuple[str, ...], list[str]]()
    for trial in dict.fromkeys(
        t for c in matter.plan.cells.values() for t in c.measures.get(name, ())
    ):
        line = asked_of(matter, trial)
        if (
            len(bundle.marks.get(trial, b"")) == len(line.items)
            and line.items == bundle.items[trial]
        ):
            found.setdefault(line.items, []).append(trial)
    return [trials for items, trials in found.items() if items]


_NOTHING = ReplyHashes((), b"", b"", b"")


def asked_of(matter: Matter, judge: str) -> ReplyHashes:
    """What a judging trial was shown; nothing if that is not there."""
    need = next(iter(matter.plan.trials[judge].needs), "")
    return matter.bundle.replies.get(need, _NOTHING)
