"""What a run looks like while it runs: what its driver knows and observers are shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from threatspec.records import Spend, Trial
from threatspec.runners._graph import TrialGraph
from threatspec.runners._verdicts import RunningVerdicts

__all__ = ["Observer", "RunState", "WorkerState"]


@dataclass(slots=True)
class WorkerState:
    """One worker, over all its restarts."""

    name: str
    node: str = ""
    """Machine it runs on; empty until it has started."""
    trial: Trial | None = None
    """What it is doing."""
    since: float = 0.0
    """When it began that (seconds since the epoch)."""
    finished: int = 0
    busy_s: float = 0.0
    """Time spent on trials that ended, lost ones included."""
    lost: int = 0
    """How often it was lost."""


@dataclass(slots=True)
class RunState:
    """One run of a campaign; the driver changes it, observers read it."""

    graph: TrialGraph
    marks: Mapping[str, bytes]
    """Outcomes of judging trials so far (`records.MARKS`)."""
    workers: dict[str, WorkerState] = field(default_factory=dict)
    spend: Spend = field(default_factory=Spend)
    """Of all finished trials, earlier runs included."""
    busy_s: float = 0.0
    """Worker time of all attempts that ended, earlier runs included."""
    verdicts: RunningVerdicts = field(default_factory=RunningVerdicts)
    """What claims would be answered now."""

    @property
    def running(self) -> list[WorkerState]:
        """Workers that are at a trial."""
        return [worker for worker in self.workers.values() if worker.trial is not None]

    @property
    def done(self) -> int:
        """Trials that are neither open nor running; one that runs twice is one."""
        return self.graph.finished - len({w.trial.id for w in self.running if w.trial})


class Observer(Protocol):
    """Who watches a run, e.g. a progress bar."""

    def update(self, state: RunState, *, over: bool) -> None:
        """Called a few times a second, and once more when the run is over."""
        ...
