"""Evidence: a plan's cells with everything that was measured of them. The one model that verdicts
and reports read."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from threatspec.claims._tally import Tally, tally
from threatspec.records import Cell, Plan, Realised, Spend, TrialResult, TrialStatus

__all__ = ["CellEvidence", "CellState", "Evidence", "gather"]


def _today() -> datetime.date:
    return datetime.datetime.now(datetime.UTC).date()


class CellState(StrEnum):
    """What became of a cell."""

    DONE = "done"
    """Every trial of it ended well."""
    ERROR = "error"
    """A trial failed or timed out: its rows are missing and stay in the denominator."""
    OVER_BUDGET = "over_budget"
    """The attack was stopped at the adversary's budget: unusable in both directions."""
    NOT_RUN = "not_run"
    """The campaign is not finished."""


@dataclass(frozen=True, slots=True)
class CellEvidence:
    """One cell as it was measured."""

    cell: Cell
    state: CellState
    tallies: Mapping[str, Tally]
    """By reading (`asr`, `asr[category=fire]`); without rows all units are unknown."""
    spend: Spend
    """What the attack spent; reading the test prompts is not charged."""
    realised: tuple[Realised, ...]
    code: str = ""
    message: str = ""

    @property
    def usable(self) -> bool:
        """Whether its rows may speak for or against the claim."""
        return self.state in {CellState.DONE, CellState.ERROR}


@dataclass(frozen=True, slots=True)
class Evidence:
    """A campaign as far as it was run."""

    plan: Plan
    cells: Mapping[str, CellEvidence]
    at: datetime.date = field(default_factory=_today)
    """Day (UTC) of the verdict: recorded for a campaign that has been run, else today."""

    @property
    def complete(self) -> bool:
        """Whether every planned cell has been run."""
        return all(cell.state is not CellState.NOT_RUN for cell in self.cells.values())


def gather(
    plan: Plan, results: Mapping[str, TrialResult], *, at: datetime.date | None = None
) -> Evidence:
    """Bring the results of trials together by cell, to be answered as of a day."""
    cells = {name: _cell(plan, cell, results) for name, cell in plan.cells.items()}
    return Evidence(plan, cells, at or _today())


def _cell(plan: Plan, cell: Cell, results: Mapping[str, TrialResult]) -> CellEvidence:
    attack = results.get(cell.attack) if cell.attack else None
    state, code, message = _state(plan, cell, results)
    return CellEvidence(
        cell=cell,
        state=state,
        tallies={
            reading: count
            for name, trial in cell.measures.items()
            for reading, count in _tallies(plan, name, results.get(trial))
        },
        spend=attack.spend if attack else Spend(),
        realised=attack.realised if attack else (),
        code=code,
        message=message,
    )


def _tallies(plan: Plan, name: str, result: TrialResult | None) -> Iterator[tuple[str, Tally]]:
    """The measure over all its prompts, then every slice of it that is planned."""
    measure, rows = plan.measures[name], result.rows if result else ()
    yield name, tally(rows, measure.units, measure.cluster, measure.prompts)
    for key, part in measure.slices.items():
        items = frozenset(part.items)
        own = [row for row in rows if row.item in items]
        yield f"{name}[{key}]", tally(own, part.units, measure.cluster, len(items))


def _state(
    plan: Plan, cell: Cell, results: Mapping[str, TrialResult]
) -> tuple[CellState, str, str]:
    asked = [need for trial in cell.measures.values() for need in plan.trials[trial].needs]
    trials = [
        *([cell.attack] if cell.attack else []),
        *dict.fromkeys(asked),
        *cell.measures.values(),
    ]
    missing = False
    for trial in trials:
        result = results.get(trial)
        if result is None:
            missing = True
        elif result.status is TrialStatus.OVER_BUDGET:
            return CellState.OVER_BUDGET, result.code, result.message
        elif result.status is not TrialStatus.DONE:
            return CellState.ERROR, result.code, result.message
    return (CellState.NOT_RUN if missing else CellState.DONE), "", ""
