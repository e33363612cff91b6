"""Trials that could begin now, found by what a worker has mounted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from heapq import heappop, heappush

from threatspec.records import Trial

__all__ = ["Ready"]

_Entry = tuple[int, str]
"""Place in the order, and the trial's id."""


class Ready:
    """Ready trials in plan order, one queue per subject and per need.

    A trial stands in several queues; it is in `_place` while it is ready, and a queue skips
    entries that are not, so that taking costs a logarithm however many are ready.
    """

    def __init__(self) -> None:
        self._place: dict[str, int] = {}
        self._of_need: dict[str, list[_Entry]] = {}
        self._of_subject: dict[str, list[_Entry]] = {}
        self._first: list[_Entry] = []
        """Trials that were given back."""
        self._count: Counter[str] = Counter()
        """Ready trials of each subject."""

    def __len__(self) -> int:
        return len(self._place)

    def add(self, trial: Trial, place: int) -> None:
        """A trial may begin; a place below 0 is before everything else."""
        self._place[trial.id] = place
        self._count[trial.subject] += 1
        entry = (place, trial.id)
        heappush(self._of_subject.setdefault(trial.subject, []), entry)
        for need in trial.needs:
            heappush(self._of_need.setdefault(need, []), entry)
        if place < 0:
            heappush(self._first, entry)

    def remove(self, trial: Trial) -> None:
        """It was taken, or is not wanted any more; nothing if it is not here."""
        if self._place.pop(trial.id, None) is not None:
            self._count[trial.subject] -= 1

    def forget(self, need: str) -> None:
        """Nobody reads `need` any more."""
        self._of_need.pop(need, None)

    def continuing(self, last: Trial) -> str | None:
        """The first that reads what `last` has made, or what it has read."""
        tops = (self._top(self._of_need.get(need)) for need in (last.id, *last.needs))
        return _least(tops)

    def of_subject(self, subject: str) -> str | None:
        """The first of a subject."""
        return _least([self._top(self._of_subject.get(subject))])

    def given_back(self) -> str | None:
        """What was begun once, and lost."""
        return _least([self._top(self._first)])

    def busiest(self, workers: Counter[str]) -> str | None:
        """The subject with most ready trials per worker, if one more came to it."""
        found = [subject for subject, count in self._count.items() if count]
        return max(found, key=lambda s: self._count[s] / (workers[s] + 1), default=None)

    def _top(self, queue: list[_Entry] | None) -> _Entry | None:
        while queue:
            place, trial = queue[0]
            if self._place.get(trial) == place:
                return queue[0]
            heappop(queue)
        return None


def _least(tops: Iterable[_Entry | None]) -> str | None:
    first = min((top for top in tops if top), default=None)
    return first[1] if first else None
