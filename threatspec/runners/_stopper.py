"""When a cell needs no more prompts: every claim that reads it has an answer from it.

The verdict reads each cell up to the look that settled it, whatever was run beyond, so that
stopping saves work and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from threatspec.claims import CellEvidence, CellState, Evidence, Reader, View
from threatspec.records import Arm, Cell, Plan, PlannedClaim, TrialResult

__all__ = ["Stopper"]

_Use = tuple[PlannedClaim, Arm]
"""A claim that reads a cell, and as what."""


@dataclass(slots=True)
class _Unsettled:
    """How far a cell was looked at; a look that is complete and settles nothing never will."""

    unanswered: list[_Use]
    look: int = 1


class Stopper:
    """Finds the trials that settled cells leave without purpose.

    What one judging trial adds is looked at once, however many looks and cells there are.

    Args:
        plan: the frozen campaign.
        results: finished trials; may grow.
        marks: outcomes of judging trials; may grow.
    """

    def __init__(
        self, plan: Plan, results: Mapping[str, TrialResult], marks: Mapping[str, bytes]
    ) -> None:
        self.plan = plan
        self._reader = Reader(plan, results, marks)
        self._claims = _readers(plan)
        self._unsettled: dict[str, _Unsettled] = {}
        self._views: dict[str, View] = {}
        """By claim, with its untouched cells as they were read last."""
        self._users: dict[str, tuple[str, ...]] = {}
        self._settled: set[str] = set()
        for cell in plan.cells.values():
            for trial in self._later(cell, 0):
                self._users[trial] = (*self._users.get(trial, ()), cell.id)
        self._beside = _beside(plan)

    def all_needless(self) -> list[str]:
        """Whatever no claim needs any more, given all that is there."""
        self._look_again(self.plan.cells)
        return self._needless(self.plan.cells.values())

    def needless(self, judged: str) -> list[str]:
        """The same, after one more judging trial has ended."""
        users = self._users.get(judged, ())
        beside = dict.fromkeys(name for user in users for name in self._beside.get(user, ()))
        if beside:
            self._look_again(beside)
        return self._needless(self.plan.cells[name] for name in dict.fromkeys([*users, *beside]))

    def _look_again(self, cells: Iterable[str]) -> None:
        """What these are read beside has changed, so that an early look may settle them."""
        self._views.clear()
        for name in cells:
            self._unsettled.pop(name, None)

    def _needless(self, cells: Iterable[Cell]) -> list[str]:
        found: list[str] = []
        for cell in cells:
            if cell.id in self._settled or not self._is_settled(cell):
                continue
            self._settled.add(cell.id)
            self._unsettled.pop(cell.id, None)
            left = (trial for trial in self._later(cell, 1) if self._unused(trial))
            found += left
        return found

    def _unused(self, trial: str) -> bool:
        return self._settled.issuperset(self._users[trial])

    def _is_settled(self, cell: Cell) -> bool:
        claims = self._claims.get(cell.id, [])
        most = max((len(trials) for trials in cell.measures.values()), default=0)
        if not claims or most < 2:
            return False
        known = self._unsettled.setdefault(cell.id, _Unsettled(list(claims)))
        for look in range(known.look, most + 1):
            state = self._reader.state(cell, look)
            if state is CellState.NOT_RUN:
                break
            self._answer(known, self._reader.at(cell, look))
            if state is CellState.DONE and look == known.look:
                known.look += 1
        return not known.unanswered

    def _answer(self, known: _Unsettled, seen: CellEvidence) -> None:
        known.unanswered = [
            (planned, arm)
            for planned, arm in known.unanswered
            if not self._view(planned).settled(seen, arm)
        ]

    def _view(self, planned: PlannedClaim) -> View:
        if planned.id not in self._views:
            untouched = {name: self._untouched(name) for name in planned.untouched.values()}
            self._views[planned.id] = View(Evidence(self.plan, untouched), planned)
        return self._views[planned.id]

    def _untouched(self, name: str) -> CellEvidence:
        cell = self.plan.cells[name]
        return self._reader.at(cell, max(map(len, cell.measures.values()), default=1))

    def _later(self, cell: Cell, look: int) -> list[str]:
        """Trials of a cell that read prompts, from a look on."""
        judged = [trial for trials in cell.measures.values() for trial in trials[look:]]
        asked = [need for trial in judged for need in self.plan.trials[trial].needs]
        return [*dict.fromkeys([*asked, *judged])]


def _readers(plan: Plan) -> dict[str, list[_Use]]:
    """Claims that read a cell, and as what."""
    found: dict[str, list[_Use]] = {}
    for planned in plan.claims:
        for arm, cells in planned.attacked.items():
            for name in cells:
                found.setdefault(name, []).append((planned, arm))
    return found


def _beside(plan: Plan) -> dict[str, dict[str, None]]:
    """Attacked cells that claims read together with an untouched one, which may settle them."""
    found: dict[str, dict[str, None]] = {}
    for planned in plan.claims:
        attacked = dict.fromkeys(name for cells in planned.attacked.values() for name in cells)
        for bare in planned.untouched.values():
            found.setdefault(bare, {}).update(attacked)
    return found
