"""What a run looks like now, written beside its ledger for whoever asks.

``progress.json`` (schema ``threatspec/progress/v1``) is read by `threatspec status`, on another
machine as well. Records it is not: everything in it is in the ledger, or passes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal

from pydantic import Field

from threatspec.errors import ThreatspecError
from threatspec.records import Spend, TrialKind
from threatspec.runners._state import Observer, RunState
from threatspec.schema import Model, Verdict

__all__ = ["Observers", "Progress", "ProgressFile", "TimeLeft", "read_progress"]

_PAUSE_S = 2.0


class RunningTrial(Model):
    """What one worker is doing."""

    worker: str
    trial: str
    kind: TrialKind
    since: float
    """When it began (seconds since the epoch)."""


class WorkerProgress(Model):
    """One worker, over all its restarts."""

    name: str
    node: str
    """Machine it runs on; empty until it has started."""
    finished: int
    busy_s: float
    """Time spent on trials that ended."""
    lost: int
    """How often it was lost."""


class Progress(Model):
    """A run as it was at one moment."""

    format: Literal["threatspec/progress/v1"] = Field(
        default="threatspec/progress/v1", alias="schema"
    )
    at: float
    """The moment (seconds since the epoch)."""
    plan: str
    """Id of the plan."""
    total: int
    """Trials of the plan."""
    finished: int
    """Trials that have ended, and those that nobody needs any more."""
    spend: Spend
    """Of all finished trials."""
    busy_s: float
    """Worker time of all attempts that ended."""
    eta_s: float | None = None
    """Seconds that the rest will take at the pace of this run; absent while there is no pace."""
    running: tuple[RunningTrial, ...]
    workers: tuple[WorkerProgress, ...]
    verdicts: dict[str, Verdict]
    """By claim, as of a moment ago."""

    @property
    def text(self) -> str:
        """What `progress.json` holds."""
        return self.model_dump_json(by_alias=True, exclude_none=True, indent=1)


def read_progress(text: str) -> Progress:
    """The progress that `text` describes.

    Raises ThreatspecError TS-RECORDS if it is none.
    """
    try:
        return Progress.model_validate_json(text)
    except ValueError as error:
        what = str(error).splitlines()[0]
        said = f"progress.json must be a {Progress.model_fields['format'].default}, but is not"
        raise ThreatspecError(
            "TS-RECORDS", f"{said} ({what}); a running campaign writes it anew"
        ) from None


class TimeLeft:
    """Extrapolates the pace of this run; what earlier ones did takes no part."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began: tuple[float, int] | None = None

    def seconds(self, state: RunState) -> float | None:
        """Until all trials have ended; None until one has."""
        finished = state.done
        if self._began is None:
            self._began = (self._clock(), finished)
        began, before = self._began
        if finished <= before:
            return None
        return (self._clock() - began) / (finished - before) * (state.graph.total - finished)


class ProgressFile:
    """Writes `progress.json` at most every two seconds, and when the run is over.

    Args:
        folder: the results folder.
        plan: id of the plan.
        clock: what seconds are counted with.
    """

    def __init__(
        self, folder: Path, plan: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._path = folder / "progress.json"
        self._plan = plan
        self._clock = clock
        self._left = TimeLeft(clock)
        self._next = 0.0

    def update(self, state: RunState, *, over: bool) -> None:
        """Write what there is, if it is time; a campaign does not fail for this file."""
        left = self._left.seconds(state)
        if not over and self._clock() < self._next:
            return
        with suppress(OSError):
            _write(self._path, self._progress(state, left, over=over).text)
        self._next = self._clock() + _PAUSE_S

    def _progress(self, state: RunState, left: float | None, *, over: bool) -> Progress:
        return Progress(
            at=round(time.time(), 3),
            plan=self._plan,
            total=state.graph.total,
            finished=state.done,
            spend=state.spend,
            busy_s=state.busy_s,
            eta_s=left,
            running=_running(state),
            workers=_workers(state),
            verdicts=dict(state.verdicts.now(state, over=over)),
        )


def _running(state: RunState) -> tuple[RunningTrial, ...]:
    return tuple(
        RunningTrial(worker=w.name, trial=w.trial.id, kind=w.trial.kind, since=w.since)
        for w in state.running
        if w.trial
    )


def _workers(state: RunState) -> tuple[WorkerProgress, ...]:
    return tuple(
        WorkerProgress(name=w.name, node=w.node, finished=w.finished, busy_s=w.busy_s, lost=w.lost)
        for w in state.workers.values()
    )


def _write(path: Path, text: str) -> None:
    """Whoever reads it sees the old text or the new one, never a part."""
    temporary = path.with_suffix(".json.tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


class Observers:
    """Several observers as one."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def update(self, state: RunState, *, over: bool) -> None:
        """Tell each of them."""
        for observer in self._observers:
            observer.update(state, over=over)
