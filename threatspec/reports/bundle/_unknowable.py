"""What no bundle can show, said every time."""

from __future__ import annotations

from collections.abc import Iterator

from threatspec.reports.bundle._checks import Check, unknown
from threatspec.reports.bundle._matter import Matter

__all__ = ["unknowable"]


def unknowable(matter: Matter) -> Iterator[Check]:
    """Everything that would have to be taken on trust."""
    yield unknown("other runs", _runs(matter))
    yield unknown(
        "invented records",
        "replies, hashes, outcomes and training that were invented together, each fitting the "
        "others, look like these; only running a part of it again tells",
    )
    yield unknown(
        "who and when",
        "a bundle names nobody, and its times are its own: a self-made hash proves no time, and a "
        "receipt of the plan narrows only when the plan was there",
    )
    yield unknown(
        "weights",
        "whether the weights behind a digest are what their name says, and whether they were the "
        "ones that answered",
    )
    endpoints = sorted({ref for ref in _subjects(matter) if "endpoint:" in ref})
    if endpoints:
        text = (
            f"{', '.join(endpoints)}: what answers there has no digest, and may be another by now"
        )
        yield unknown("endpoints", text)


def _runs(matter: Matter) -> str:
    counts = matter.bundle.registration.runs
    most = max(counts.values(), default=0)
    counter = (
        f"its own counter says that this is run {most} in its place"
        if most
        else "it has no counter"
    )
    return f"whether runs with other outcomes were left away: {counter}, and knows no other place"


def _subjects(matter: Matter) -> Iterator[str]:
    return (cell.subject for cell in matter.plan.cells.values())
