"""Are labels about replies that were judged, said after these were there, and one after another?"""

from __future__ import annotations

import datetime
from collections.abc import Iterator

from threatspec.records import MARKS, Label, Outcome, audit, strata
from threatspec.reports.bundle._checks import Check, found
from threatspec.reports.bundle._matter import Matter

__all__ = ["label_checks"]

_JUDGED = MARKS[Outcome.YES] + MARKS[Outcome.NO]


def label_checks(matter: Matter) -> Iterator[Check]:
    """Nothing is said where nobody labelled anything."""
    labels = matter.bundle.labels
    if not labels:
        return
    counts = audit(strata(matter.plan, matter.bundle.marks, matter.bundle.seed), labels).values()
    beyond = sum(count.beyond for count in counts)
    text = f"{len(labels)} labels are about judged replies and follow them in time"
    if beyond:
        text += f"; {beyond} are out of the order in which they were drawn, and are not counted"
    yield found("labels", _faults(matter, labels), text)


def _faults(matter: Matter, labels: tuple[Label, ...]) -> Iterator[str]:
    last: dict[str, datetime.datetime] = {}
    judged = {a.trial: a.ended for a in matter.bundle.attempts if a.final}
    for label in labels:
        at = datetime.datetime.fromisoformat(label.at)
        if not _was_judged(matter, label):
            yield f"a label is about {label.item[:100]!r} of {label.trial}, which was not judged"
        elif at.timestamp() + 1 < judged.get(
            label.trial, 0.0
        ):  # times of labels may be whole seconds
            yield f"a label of {label.item} is older than the reply"
        if at < last.get(label.labeller, at):
            yield f"labels of {label.labeller} go back in time"
        last[label.labeller] = at


def _was_judged(matter: Matter, label: Label) -> bool:
    items, marks = matter.bundle.items.get(label.trial, ()), matter.bundle.marks.get(label.trial)
    if marks is None or label.item not in items:
        return False
    place = items.index(label.item)
    return place < len(marks) and marks[place] in _JUDGED
