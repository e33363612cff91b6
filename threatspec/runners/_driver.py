"""The driver of a campaign: gives out trials, takes answers, and alone writes the ledger.

One loop for every runner. What differs between runners is the pool of workers.
"""

from __future__ import annotations

import queue
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress

from threatspec.errors import ThreatspecError
from threatspec.records import (
    Attempt,
    Ledger,
    Marker,
    Trial,
    TrialKind,
    TrialResult,
    TrialStatus,
)
from threatspec.runners._artefacts import Artefacts
from threatspec.runners._graph import TrialGraph
from threatspec.runners._pace import Pace
from threatspec.runners._pool import Answer, Loss, Place, Pool, Worker
from threatspec.runners._profile import Profile
from threatspec.runners._state import Observer, RunState, WorkerState
from threatspec.runners._stopper import Stopper
from threatspec.runners._stopping import Stopping
from threatspec.schema import is_judge

__all__ = ["Driver", "Reading"]

_OURS = ("TS-DISK-FULL", "TS-RUNNER-RESOURCES")
"""What is wrong with the machine or the profile, and no result of a trial."""
_OF_JUDGES = ("TS-ENDPOINT",)
"""A judge whose server is down says nothing of the subject; the campaign goes on afterwards."""
_TICK_S = 0.5
_SHOWN_S = 0.2


class Reading:
    """Outcomes so far, and what they leave without purpose."""

    def __init__(self, stopper: Stopper, marks: dict[str, bytes]) -> None:
        self.stopper, self.marks = stopper, marks
        self._marker = Marker(stopper.plan)

    def enter(self, result: TrialResult) -> list[str]:
        """Trials that are needless now."""
        if not result.rows:
            return []
        self.marks.update(self._marker.of([result]))
        return self.stopper.needless(result.trial)


class Driver:
    """Runs the open trials of a graph on a pool of workers.

    Args:
        ledger: where everything is written down.
        state: graph, marks and workers; changed here.
        reading: what outcomes leave without purpose.
        pool: the workers.
        artefacts: tampered weights that nobody reads any more are removed from there.
        profile: timeouts, retries, speculation.
        stopping: why no further trial may begin.
        observer: who watches.
    """

    def __init__(
        self,
        ledger: Ledger,
        state: RunState,
        reading: Reading,
        pool: Pool,
        artefacts: Artefacts,
        profile: Profile,
        stopping: Stopping,
        observer: Observer,
    ) -> None:
        self.ledger = ledger
        self.state = state
        self.graph: TrialGraph = state.graph
        self.reading = reading
        self.pool = pool
        self.artefacts = artefacts
        self.profile = profile
        self.stopping = stopping
        self.observer = observer
        self.pace = Pace(profile.speculation)
        self.lost: Counter[str] = Counter()
        self.last: dict[str, Trial] = {}
        self._shown = self._looked = 0.0
        state.workers.update({name: WorkerState(name) for name in pool.workers})

    def run(self) -> None:
        """Until every trial is finished, or none may begin any more and none is running."""
        for worker in self.pool.workers.values():
            worker.start()
        while not self._over():
            self._assign()
            self._show()
            self._listen()
            if time.monotonic() - self._looked > _TICK_S:
                self._look_after()
        self.observer.update(self.state, over=True)

    def _over(self) -> bool:
        """A second run of a trial that has a result is not waited for."""
        needed = any(w.trial and w.trial.id not in self.graph.results for w in self._running())
        return not needed and (
            bool(self.stopping.reason) or self.graph.finished == self.graph.total
        )

    def _running(self) -> list[WorkerState]:
        return self.state.running

    # giving out

    def _assign(self) -> None:
        if self.stopping.reason:
            return
        for worker in self._idle():
            trial = self.graph.take(self.last.get(worker.name)) or self._second()
            if trial is None:
                return
            self._send(worker, trial)

    def _idle(self) -> Iterable[Worker]:
        states = self.state.workers
        return [w for w in self.pool.workers.values() if w.ready and states[w.name].trial is None]

    def _second(self) -> Trial | None:
        """A trial that runs too long somewhere, to be run here as well; the first result counts."""
        running = Counter(w.trial.id for w in self._running() if w.trial)
        alone = [w for w in self._running() if w.trial and running[w.trial.id] == 1]
        return self.pace.overdue([(w.trial, w.since) for w in alone if w.trial], time.time())

    def _send(self, worker: Worker, trial: Trial) -> None:
        state = self.state.workers[worker.name]
        state.trial, state.since = trial, time.time()
        self.last[worker.name] = trial
        worker.send(trial, self._inputs(trial))

    def _inputs(self, trial: Trial) -> list[TrialResult]:
        """Replies and rows are not kept in the driver's memory; they are read back where needed."""
        return [
            found.model_copy(update={"rows": self.ledger.rows(found.trial)})
            if found.trial in trial.history
            else found.model_copy(update={"generations": self.ledger.generations(found.trial)})
            for found in self.graph.inputs(trial)
        ]

    # taking answers

    def _listen(self) -> None:
        """Wait for an answer, then take all that are there."""
        with suppress(queue.Empty):
            self._take(self.pool.answers.get(timeout=_TICK_S))
            while True:
                self._take(self.pool.answers.get_nowait())

    def _take(self, answer: Answer) -> None:
        worker, state = self.pool.workers[answer.worker], self.state.workers[answer.worker]
        if answer.generation != worker.generation:
            return
        match answer.said:
            case Place() as place:
                state.node = place.node
                self.ledger.event(
                    "worker-started", worker=worker.name, node=place.node, host=place.host,
                    pid=place.pid,
                )  # fmt: skip
            case Loss() as loss:
                self._lost(worker, TrialStatus.ERROR, loss)
            case TrialResult() as result:
                self._answered(state, result)

    def _answered(self, state: WorkerState, result: TrialResult) -> None:
        if state.trial is None or state.trial.id != result.trial:
            return
        attempt, trial = self._ended(state), state.trial
        state.trial = None
        state.finished += 1
        judging = trial.kind is TrialKind.JUDGE or is_judge(trial.subject)
        if result.code in _OURS or (judging and result.code in _OF_JUDGES):
            raise ThreatspecError(result.code, result.message)
        if trial.id in self.graph.results:  # another worker was faster
            self.ledger.record(result, attempt, final=False)
            return
        self.pace.add(trial, attempt.ended - attempt.started)
        self.pool.finished(trial, result, attempt.ended - attempt.started)
        self._record(result, attempt)

    def _ended(self, state: WorkerState) -> Attempt:
        attempt = Attempt(state.name, state.since, time.time())
        state.busy_s += attempt.ended - attempt.started
        self.state.busy_s += attempt.ended - attempt.started
        return attempt

    def _record(self, result: TrialResult, attempt: Attempt) -> None:
        self.ledger.record(result, attempt)
        self.state.spend += result.spend
        self.graph.finish(result)
        self.graph.drop(self.reading.enter(result))
        read = self.graph.take_unread()
        if not self.profile.keep_artefacts:  # tampered weights do not outlive their measurement
            self.artefacts.remove(read)

    # what goes wrong around trials

    def _look_after(self) -> None:
        """About twice a second: what nobody tells."""
        self._looked = time.monotonic()
        self._end_hung()
        self.stopping.look(self.state)
        if any(self.graph.open) or self._running():
            self.pool.check()
        for worker in self.pool.workers.values():
            worker.start()

    def _end_hung(self) -> None:
        limit = self.profile.trial_timeout_s
        for state in self._running():
            if time.time() - state.since > limit:
                text = f"a trial must end within {limit:g} s, but this one did not"
                loss = Loss("TS-TRIAL-TIMEOUT", text)
                self._lost(self.pool.workers[state.name], TrialStatus.TIMEOUT, loss)

    def _lost(self, worker: Worker, status: TrialStatus, loss: Loss) -> None:
        """Infrastructure failed, not the trial: try again, blind to outcomes, then give up."""
        worker.kill()
        state = self.state.workers[worker.name]
        state.lost += 1
        trial, state.trial = state.trial, None
        self.last.pop(worker.name, None)
        name = trial.id if trial else ""
        self.ledger.event("worker-lost", worker=worker.name, trial=name, code=loss.code)
        if trial:
            self._retry(trial, self._ended(state), status, loss)

    def _retry(self, trial: Trial, attempt: Attempt, status: TrialStatus, loss: Loss) -> None:
        self.lost[trial.id] += 1
        elsewhere = any(w.trial and w.trial.id == trial.id for w in self._running())
        settled = elsewhere or trial.id in self.graph.results
        again = self.lost[trial.id] <= self.profile.retries
        result = TrialResult(trial=trial.id, status=status, code=loss.code, message=loss.message)
        if settled or again:
            self.ledger.record(result, attempt, final=False)
            if not settled:
                self.graph.give_back(trial)
        else:
            self._record(result, attempt)

    def _show(self) -> None:
        if time.monotonic() - self._shown > _SHOWN_S:
            self.observer.update(self.state, over=False)
            self._shown = time.monotonic()
