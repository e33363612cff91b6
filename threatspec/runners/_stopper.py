"""When a cell needs no more prompts: every claim that reads it has an answer from it.

The verdict reads each cell up to the look that settled it, whatever was run beyond, so that
stopping saves work and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from threatspec.claims import CellEvidence, Evidence, Reader, View
from threatspec.records import Arm, Cell, Plan, PlannedClaim, TrialResult

__all__ = ["Stopper"]


class Stopper:
    """Finds the trials that settled cells leave without purpose.

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
        self._users: dict[str, set[str]] = {}
        self._settled: set[str] = set()
        for cell in plan.cells.values():
            for trial in self._later(cell, 0):
                self._users.setdefault(trial, set()).add(cell.id)
        self._beside = _beside(plan)

    def all_needless(self) -> list[str]:
        """Whatever no claim needs any more, given all that is there."""
        return self._needless(self.plan.cells.values())

    def needless(self, judged: str) -> list[str]:
        """The same, after one more judging trial has ended."""
        users = self._users.get(judged, set())
        beside = (name for user in users for name in self._beside.get(user, ()))
        return self._needless(self.plan.cells[name] for name in dict.fromkeys([*users, *beside]))

    def _needless(self, cells: Iterable[Cell]) -> list[str]:
        found: list[str] = []
        for cell in cells:
            if cell.id in self._settled or not self._is_settled(cell):
                continue
            self._settled.add(cell.id)
            left = (trial for trial in self._later(cell, 1) if self._unused(trial))
            found += left
        return found

    def _unused(self, trial: str) -> bool:
        return self._users[trial] <= self._settled

    def _is_settled(self, cell: Cell) -> bool:
        claims = self._claims.get(cell.id, [])
        if not claims or all(len(trials) < 2 for trials in cell.measures.values()):
            return False
        looks = self._reader.looks(cell)
        return all(self._answered(looks, planned, arm) for planned, arm in claims)

    def _answered(self, looks: tuple[CellEvidence, ...], planned: PlannedClaim, arm: Arm) -> bool:
        untouched = {name: self._untouched(name) for name in planned.untouched.values()}
        view = View(Evidence(self.plan, untouched), planned)
        return any(view.settled(look, arm) for look in looks)

    def _untouched(self, name: str) -> CellEvidence:
        return self._reader.looks(self.plan.cells[name])[-1]

    def _later(self, cell: Cell, look: int) -> list[str]:
        """Trials of a cell that read prompts, from a look on."""
        judged = [trial for trials in cell.measures.values() for trial in trials[look:]]
        asked = [need for trial in judged for need in self.plan.trials[trial].needs]
        return [*dict.fromkeys([*asked, *judged])]


def _readers(plan: Plan) -> dict[str, list[tuple[PlannedClaim, Arm]]]:
    """Claims that read a cell, and as what."""
    found: dict[str, list[tuple[PlannedClaim, Arm]]] = {}
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
