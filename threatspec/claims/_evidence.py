"""Evidence: a plan's cells with everything that was measured of them. The one model that verdicts
and reports read."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from itertools import accumulate
from typing import Any

from threatspec.claims._counts import Layout, layout, tallies
from threatspec.claims._judge_error import Audit
from threatspec.claims._tally import Basis, Tally
from threatspec.records import (
    ABSENT,
    Cell,
    Edit,
    Optimised,
    Plan,
    PlannedMeasure,
    Realised,
    Registration,
    Replies,
    Spend,
    TrialKind,
    TrialResult,
    TrialStatus,
    Tried,
    claim_digests,
    marks_of_results,
)

__all__ = ["AuditKey", "CellEvidence", "CellState", "Evidence", "Reader", "gather"]

AuditKey = tuple[str, str]
"""Reading and cell: labels speak for no other replies."""


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
    INVALID = "invalid"
    """It repeats another replicate's seeds: unusable in both directions."""
    NOT_RUN = "not_run"
    """The campaign is not finished."""


_MADE_FIRST = (TrialKind.BUILD, TrialKind.SCORE, TrialKind.REPAIR)


@dataclass(frozen=True, slots=True)
class CellEvidence:
    """One cell as far as it was read."""

    cell: Cell
    state: CellState
    tallies: Mapping[str, Tally]
    """By reading (`asr`, `asr[category=fire]`); without rows all units are unknown."""
    spend: Spend
    """What the attack spent; reading the test prompts is not charged."""
    realised: tuple[Realised, ...]
    edits: tuple[Edit, ...] = ()
    optimised: tuple[Optimised, ...] = ()
    config: Mapping[str, Any] | None = None
    """What its search has chosen; None where the plan fixes it."""
    tried: tuple[Tried, ...] = ()
    """What the search chose from."""
    final: Spend = field(default_factory=Spend)
    """Of `spend`, the run itself."""
    code: str = ""
    message: str = ""
    marks: Mapping[str, bytes] = field(default_factory=dict)
    """Letters by measure, in the order of reading."""
    replies: Replies = field(default_factory=Replies)
    blocked: str = ""
    """Safeguard of the provider that did not let the attack train."""

    @property
    def usable(self) -> bool:
        """Whether its rows may speak for or against the claim."""
        return self.state in {CellState.DONE, CellState.ERROR}


@dataclass(frozen=True)
class Evidence:
    """A campaign as far as it was run."""

    plan: Plan
    cells: Mapping[str, CellEvidence]
    """With everything that was planned to be read."""
    at: datetime.date = field(default_factory=_today)
    """Day (UTC) of the verdict: recorded for a campaign that has been run, else today."""
    looks: Mapping[str, tuple[CellEvidence, ...]] = field(default_factory=dict)
    """Of cells that are read until they are settled: as they stood at each look."""
    audits: Mapping[AuditKey, Audit] = field(default_factory=dict)
    """What people's labels say of the judge."""
    registration: Registration = field(default_factory=Registration)
    instruments: Mapping[str, TrialResult] = field(default_factory=dict)
    """By trial, as far as they were read; no verdict looks at them."""
    warnings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By trial, what weakens it without failing it; no verdict looks at them either."""

    def layout(self, measure: str) -> dict[str, Layout]:
        """Where the units of a measure and of its slices stand among its letters."""
        if measure not in self._layouts:
            self._layouts[measure] = layout(self.plan.measures[measure])
        return self._layouts[measure]

    @cached_property
    def _layouts(self) -> dict[str, dict[str, Layout]]:
        return {}

    @cached_property
    def plan_id(self) -> str:
        """Id of the plan, which is long to compute."""
        return self.plan.id

    @cached_property
    def claim_digests(self) -> Mapping[str, str]:
        """Digests of the plan's claims."""
        return claim_digests(self.plan)

    def read(self, cell: str) -> tuple[CellEvidence, ...]:
        """A cell at each of its looks; the last has everything."""
        return self.looks.get(cell) or (self.cells[cell],)


def gather(
    plan: Plan,
    results: Mapping[str, TrialResult],
    *,
    marks: Mapping[str, bytes] | None = None,
    at: datetime.date | None = None,
    audits: Mapping[AuditKey, Audit] | None = None,
    registration: Registration | None = None,
) -> Evidence:
    """Bring the results of trials together by cell, to be answered as of a day.

    Args:
        plan: what was planned.
        results: of trials, by id.
        marks: outcomes by judging trial (`Ledger.marks`); absent = from the rows of `results`.
        at: day of the answer; absent = today.
        audits: people's labels.
        registration: what is known of when the plan was frozen.
    """
    reader = Reader(plan, results, marks_of_results(plan, results) if marks is None else marks)
    looks = {name: reader.looks(cell) for name, cell in plan.cells.items()}
    return Evidence(
        plan,
        {name: found[-1] for name, found in looks.items()},
        at or _today(),
        {name: found for name, found in looks.items() if len(found) > 1},
        audits or {},
        registration or Registration(),
        {name: results[name] for name in _instruments(plan) if name in results},
        {name: found.warnings for name, found in results.items() if found.warnings},
    )


def _instruments(plan: Plan) -> Iterator[str]:
    for planned in plan.instruments.values():
        yield from (reading.trial for reading in planned.readings)


class Reader:
    """Reads cells of a plan from results and marks, which may grow between two readings."""

    def __init__(
        self, plan: Plan, results: Mapping[str, TrialResult], marks: Mapping[str, bytes]
    ) -> None:
        self.plan, self.results, self.marks = plan, results, marks
        self._layouts = {name: layout(measure) for name, measure in plan.measures.items()}
        self._ends = {name: _ends(measure) for name, measure in plan.measures.items()}
        self._fine: set[str] = set()
        """Trials that are known to have ended well: every later look asks again."""

    def looks(self, cell: Cell) -> tuple[CellEvidence, ...]:
        """The cell as it stands at each of its looks."""
        replies = enumerate(self._replies(cell), 1)
        return tuple(replace(self.at(cell, look), replies=found) for look, found in replies)

    def at(self, cell: Cell, look: int) -> CellEvidence:
        """The cell as it stands at a look, without what its replies look like."""
        attack = self.results.get(cell.attack) if cell.attack else None
        read = {name: trials[:look] for name, trials in cell.measures.items()}
        state, code, message = self._state(cell, read)
        marks = {name: self._letters(cell, name, trials) for name, trials in read.items()}
        return CellEvidence(
            cell=cell,
            state=state,
            tallies={k: v for name in read for k, v in self._tallies(cell, name, marks[name])},
            spend=self._spent(cell) if attack else Spend(),
            realised=attack.realised if attack else (),
            blocked=attack.blocked if attack else "",
            edits=attack.edits if attack else (),
            optimised=attack.optimised if attack else (),
            config=attack.config if attack else None,
            tried=attack.tried if attack else (),
            final=attack.spend if attack else Spend(),
            code=code,
            message=message,
            marks=marks,
        )

    def state(self, cell: Cell, look: int) -> CellState:
        """What became of the cell as far as it is read at a look."""
        read = {name: trials[:look] for name, trials in cell.measures.items()}
        return self._state(cell, read)[0]

    def _tallies(self, cell: Cell, name: str, marks: bytes) -> Iterator[tuple[str, Tally]]:
        sequential = len(cell.measures[name]) > 1
        basis = Basis.SEQUENTIAL if sequential else Basis.FIXED
        return tallies(name, self._layouts[name], marks, self.plan.measures[name].cluster, basis)

    def _letters(self, cell: Cell, name: str, trials: tuple[str, ...]) -> bytes:
        """What was to be read up to a look; what is not there is absent."""
        measure = self.plan.measures[name]
        units = measure.looks[len(trials) - 1] if len(cell.measures[name]) > 1 else measure.units
        found = b"".join(self._of_trial(name, trials, n) for n in range(len(trials)))
        return found.ljust(self._ends[name][units], ABSENT)

    def _of_trial(self, name: str, trials: tuple[str, ...], look: int) -> bytes:
        found = self.marks.get(trials[look])
        if found is not None:
            return found
        if len(trials) == 1:
            return b""
        ends, looks = self._ends[name], self.plan.measures[name].looks
        return ABSENT * (ends[looks[look]] - ends[looks[look - 1] if look else 0])

    def _replies(self, cell: Cell) -> Iterator[Replies]:
        """What its replies look like, look by look."""
        total, counted = Replies(), set[str]()
        for look in range(_looks(cell)):
            judged = tuple(t for trials in cell.measures.values() for t in trials[look : look + 1])
            for trial in dict.fromkeys(self._asked(judged)):
                if trial not in counted and trial in self.results:
                    total += self.results[trial].replies
                counted.add(trial)
            yield total

    def _asked(self, trials: tuple[str, ...]) -> list[str]:
        planned = self.plan.trials
        return [need for t in trials if t in planned for need in planned[t].needs]

    def _made_first(self, trials: Sequence[str]) -> Iterator[str]:
        """What a subject is built or repaired by, and what is scored: where that failed, nothing
        follows."""
        for trial in trials:
            planned = self.plan.trials.get(trial)
            for need in planned.needs if planned else ():
                made = self.results.get(need)
                failed = made is not None and made.status is not TrialStatus.DONE
                if failed and self._is(need, *_MADE_FIRST):
                    yield need

    def _spent(self, cell: Cell) -> Spend:
        """What one pass of the adversary took: the scores that it read, its search, its run."""
        trial = self.plan.trials.get(cell.attack or "")
        if trial is None:
            return Spend()
        paid = [need for need in trial.needs if self._is(need, TrialKind.SCORE)]
        if trial.work.get("search", {}).get("charged"):
            paid += [name for name in trial.history if self._is(name, TrialKind.ATTACK)]
        results = (self.results.get(name) for name in (*paid, trial.id))
        return sum((result.spend for result in results if result), Spend())

    def _is(self, trial: str, *kinds: TrialKind) -> bool:
        found = self.plan.trials.get(trial)
        return found is not None and found.kind in kinds

    def _overspent(self, cell: Cell) -> bool:
        """Whether recorded spend exceeds the budget, whatever the recorded status says."""
        trial = self.plan.trials.get(cell.attack or "")
        budget, result = trial.budget if trial else None, self.results.get(cell.attack or "")
        if budget is None or result is None:
            return False
        runs = [run.steps for run in result.realised]
        longest = max([*runs, result.spend.steps / max(1, len(runs))])
        over_steps = budget.steps is not None and longest > budget.steps
        spent = self._spent(cell)
        over_queries = _is_over(spent.queries, budget.queries)
        return over_steps or over_queries or _is_over(spent.flops, budget.flops)

    def _state(self, cell: Cell, read: Mapping[str, tuple[str, ...]]) -> tuple[CellState, str, str]:
        judged = [trial for trials in read.values() for trial in trials]
        asked = dict.fromkeys(self._asked(tuple(judged)))
        attack = [cell.attack] if cell.attack else []
        missing = False
        for trial in [*self._made_first([*attack, *asked]), *attack, *asked, *judged]:
            if trial in self._fine:
                continue
            result = self.results.get(trial)
            if result is None:
                missing = True
            elif result.status is TrialStatus.OVER_BUDGET or (
                trial == cell.attack and self._overspent(cell)
            ):
                code = result.code or "TS-R8b"
                return CellState.OVER_BUDGET, code, result.message or "more was spent than allowed"
            elif result.status is not TrialStatus.DONE:
                return CellState.ERROR, result.code, result.message
            else:
                self._fine.add(trial)
        return (CellState.NOT_RUN if missing else CellState.DONE), "", ""


def _is_over(spent: float, most: float | None) -> bool:
    return most is not None and spent > most


def _looks(cell: Cell) -> int:
    return max((len(trials) for trials in cell.measures.values()), default=1)


def _ends(measure: PlannedMeasure) -> tuple[int, ...]:
    """Prompts of the first units of a measure, by the number of units."""
    return (0, *accumulate(len(unit) for unit in measure.order))
