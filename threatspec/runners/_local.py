"""Local runner: worker processes on this machine, one driver that alone writes the ledger."""

from __future__ import annotations

import queue
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from threatspec.errors import ExitCode, ThreatspecError
from threatspec.records import (
    ArtefactStore,
    Attempt,
    Ledger,
    Marker,
    Trial,
    TrialResult,
    TrialStatus,
)
from threatspec.runners._graph import TrialGraph
from threatspec.runners._inputs import check_inputs
from threatspec.runners._process import Answer, Worker
from threatspec.runners._profile import Profile
from threatspec.runners._stopper import Stopper

__all__ = ["Observer", "run_local"]


class Observer(Protocol):
    """Who watches a run, e.g. a progress bar."""

    def update(self, graph: TrialGraph, running: list[Trial]) -> None:
        """Called after every change and about once a second."""
        ...


class _Silent:
    def update(self, graph: TrialGraph, running: list[Trial]) -> None:
        pass


def run_local(
    ledger: Ledger,
    spec_folder: Path,
    profile: Profile,
    observer: Observer | None = None,
) -> None:
    """Run every trial of the ledger's plan that has no result yet and that a claim still needs.

    Raises ThreatspecError TS-INTERRUPTED on Ctrl-C, TS-DISK-FULL, and what `check_inputs` raises;
    what was measured is kept.
    """
    graph, marks = TrialGraph(ledger.plan, ledger.results()), ledger.marks()
    stopper = Stopper(ledger.plan, graph.results, marks)
    graph.drop(stopper.all_needless())
    if graph.finished == graph.total:
        if not ledger.events("run-finished"):  # killed at the last moment
            ledger.event("run-finished")
        return
    driver = _Driver(ledger, graph, _Reading(stopper, marks), spec_folder, profile, observer)
    check_inputs(ledger.plan, list(graph.open), graph.results, driver.store, spec_folder)
    ledger.event("run-started", workers=profile.workers, open=graph.total - graph.finished)
    try:
        driver.run()
    except KeyboardInterrupt:
        ledger.event("interrupted")
        raise ThreatspecError(
            "TS-INTERRUPTED",
            f"interrupted with {graph.finished} of {graph.total} trials done; "
            f"`threatspec resume {ledger.folder}` goes on",
            exit_code=ExitCode.INTERRUPTED,
        ) from None
    finally:
        driver.stop()
    if not profile.keep_artefacts:
        driver.store.remove_all()  # what a killed run left behind
    ledger.event("run-finished")


class _Reading:
    """Outcomes so far, and what they leave without purpose."""

    def __init__(self, stopper: Stopper, marks: dict[str, bytes]) -> None:
        self.stopper, self._marks = stopper, marks
        self._marker = Marker(stopper.plan)

    def enter(self, result: TrialResult) -> list[str]:
        """Trials that are needless now."""
        if not result.rows:
            return []
        self._marks.update(self._marker.of([result]))
        return self.stopper.needless(result.trial)


class _Driver:
    def __init__(
        self,
        ledger: Ledger,
        graph: TrialGraph,
        reading: _Reading,
        spec_folder: Path,
        profile: Profile,
        observer: Observer | None,
    ) -> None:
        self.ledger = ledger
        self.graph = graph
        self.reading = reading
        self.profile = profile
        self.observer = observer or _Silent()
        self.answers: queue.Queue[Answer] = queue.Queue()
        self.store = ArtefactStore(ledger.folder / "artefacts")
        self.lost: Counter[str] = Counter()
        self.workers = {
            name: Worker(name, ledger.folder, spec_folder, ledger.plan.execution, self.answers)
            for name in (f"worker-{n}" for n in range(1, profile.workers + 1))
        }

    def run(self) -> None:
        while True:
            self._assign()
            running = [w.running for w in self.workers.values() if w.running]
            self.observer.update(self.graph, running)
            if not running:
                return
            with suppress(queue.Empty):
                self._take(self.answers.get(timeout=0.5))
            self._end_hung()

    def stop(self) -> None:
        for worker in self.workers.values():
            worker.kill()

    def _assign(self) -> None:
        for worker in self.workers.values():
            if worker.running is None:
                trial = self.graph.take(worker.last)
                if trial is not None:
                    worker.started_at = time.time()
                    worker.send(trial, self._inputs(trial))

    def _inputs(self, trial: Trial) -> list[TrialResult]:
        """Replies are not kept in the driver's memory; they are read back where needed."""
        return [
            found.model_copy(update={"generations": self.ledger.generations(found.trial)})
            for found in self.graph.inputs(trial)
        ]

    def _take(self, answer: Answer) -> None:
        worker = self.workers[answer.worker]
        trial = worker.running
        if answer.generation != worker.generation or trial is None:
            return
        if answer.result is not None and answer.result.trial == trial.id:
            self._finish(worker, answer.result)
        elif answer.result is None:
            self._lost(
                worker, trial, TrialStatus.ERROR, "TS-WORKER-LOST", "the worker process ended"
            )

    def _end_hung(self) -> None:
        for worker in self.workers.values():
            trial, limit = worker.running, self.profile.trial_timeout_s
            if trial is not None and time.time() - worker.started_at > limit:
                text = f"a trial must end within {limit:g} s, but this one did not"
                self._lost(worker, trial, TrialStatus.TIMEOUT, "TS-TRIAL-TIMEOUT", text)

    def _lost(
        self, worker: Worker, trial: Trial, status: TrialStatus, code: str, message: str
    ) -> None:
        """Infrastructure failed, not the trial: try again, blind to outcomes, then give up."""
        worker.kill()
        self.lost[trial.id] += 1
        result = TrialResult(trial=trial.id, status=status, code=code, message=message)
        attempt = Attempt(worker.name, worker.started_at, time.time())
        if self.lost[trial.id] <= self.profile.retries:
            self.ledger.record(result, attempt, final=False)
            self.graph.give_back(trial)
        else:
            self._record(result, attempt)

    def _finish(self, worker: Worker, result: TrialResult) -> None:
        worker.done()
        if result.code == "TS-DISK-FULL":
            raise ThreatspecError(result.code, result.message)
        self._record(result, Attempt(worker.name, worker.started_at, time.time()))

    def _record(self, result: TrialResult, attempt: Attempt) -> None:
        self.ledger.record(result, attempt)
        self.graph.finish(result.model_copy(update={"generations": (), "rows": ()}))
        self.graph.drop(self.reading.enter(result))
        if not self.profile.keep_artefacts:
            self._remove_read_artefacts()

    def _remove_read_artefacts(self) -> None:
        """Tampered weights do not outlive their measurement."""
        needed = {name for trial in self.graph.needed() for name in self._artefacts(trial)}
        for trial in self.graph.unread():
            for name in set(self._artefacts(trial)) - needed:
                self.store.remove(name)

    def _artefacts(self, trial: str) -> tuple[str, ...]:
        return self.graph.results[trial].artefacts
