"""Outcomes of a judging trial as one letter per prompt, in the order in which prompts are read.

A million rows are a million bytes; verdicts, the runner and bundles count letters, not objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain

from threatspec.errors import ThreatspecError
from threatspec.records._plan import Cell, Plan, PlannedMeasure, TrialKind
from threatspec.records._results import Outcome, TrialResult

__all__ = ["ABSENT", "MARKS", "Marker", "items_by_trial", "marks_of_results"]

MARKS: Mapping[Outcome, bytes] = {
    Outcome.YES: b"y",
    Outcome.NO: b"n",
    Outcome.UNSCORABLE: b"u",
    Outcome.REJECTED: b"r",
    Outcome.MISSING: b"m",
}
ABSENT = b"-"
"""No row at all."""

_BY_NAME = {outcome.value: mark[0] for outcome, mark in MARKS.items()}


def items_by_trial(plan: Plan) -> dict[str, tuple[str, ...]]:
    """Prompts of every judging trial, in the order in which they are read."""
    parts = {name: _parts(measure) for name, measure in plan.measures.items()}
    whole = {name: tuple(chain(*found)) for name, found in parts.items()}
    return {
        trial: whole[name] if one else parts[name][look]
        for name, look, trial, one in _judging(plan.cells.values())
    }


def _judging(cells: Iterable[Cell]) -> Iterator[tuple[str, int, str, bool]]:
    for cell in cells:
        for name, trials in cell.measures.items():
            for look, trial in enumerate(trials):
                yield name, look, trial, len(trials) == 1


def _parts(measure: PlannedMeasure) -> list[tuple[str, ...]]:
    starts = (0, *measure.looks)
    return [
        tuple(chain(*measure.order[start:end]))
        for start, end in zip(starts, measure.looks, strict=False)
    ]


class Marker:
    """Makes letters of rows, for one plan."""

    def __init__(self, plan: Plan) -> None:
        self.items = items_by_trial(plan)
        judging = (t.id for t in plan.trials.values() if t.kind is TrialKind.JUDGE)
        self._aside = set(judging) - self.items.keys()
        """Trials that no verdict reads: what a search has read."""
        self._places = {known: _places(known) for known in set(self.items.values())}

    def marks(self, rows: Iterable[tuple[str, str, str]]) -> dict[str, bytes]:
        """Letters by trial from (trial, prompt, outcome); what has no row stays absent.

        Raises ThreatspecError TS-RECORDS for a row of a trial or prompt that the plan does not
        have.
        """
        found: dict[str, bytearray] = {}
        last, own, place = "", bytearray(), dict[str, int]()
        for trial, item, outcome in rows:
            if trial in self._aside:
                continue
            if trial != last:
                if trial not in self.items:
                    raise _foreign(trial, item)
                last, place = trial, self._places[self.items[trial]]
                own = found.setdefault(trial, bytearray(ABSENT * len(place)))
            if item not in place or outcome not in _BY_NAME:
                raise _foreign(trial, item)
            own[place[item]] = _BY_NAME[outcome]
        return {trial: bytes(letters) for trial, letters in found.items()}

    def of(self, results: Iterable[TrialResult]) -> dict[str, bytes]:
        """The same from results that hold their rows."""
        return self.marks(
            (result.trial, row.item, row.outcome.value) for result in results for row in result.rows
        )


def marks_of_results(plan: Plan, results: Mapping[str, TrialResult]) -> dict[str, bytes]:
    """Letters by trial from results that hold their rows."""
    return Marker(plan).of(results.values())


def _places(items: tuple[str, ...]) -> dict[str, int]:
    return {item: place for place, item in enumerate(items)}


def _foreign(trial: str, item: str) -> ThreatspecError:
    text = f"rows must be those of the plan, but {item!r} of {trial} is no such row"
    return ThreatspecError("TS-RECORDS", text)
