"""The state of a trial graph: what is ready, running, finished. Pure bookkeeping, any runner."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from threatspec.records import Plan, Trial, TrialKind, TrialResult, TrialStatus
from threatspec.runners._ready import Ready
from threatspec.runners._results import KeptResults

__all__ = ["TrialGraph"]

_MAKERS = frozenset({TrialKind.BUILD, TrialKind.SCORE, TrialKind.ATTACK, TrialKind.REPAIR})
"""Trials that leave artefacts."""


class TrialGraph:
    """Hands out trials in plan order, dependencies first, near what a worker has mounted.

    Every call costs as much as the trials that it changes, however many there are.

    Args:
        plan: the frozen campaign.
        results: what is already there.
    """

    def __init__(self, plan: Plan, results: Mapping[str, TrialResult]) -> None:
        self.plan = plan
        self.results = KeptResults()
        """Without rows, replies and curves, which are in the ledger."""
        self._place = {trial: place for place, trial in enumerate(plan.trials)}
        self._open: dict[str, Trial] = {}
        self._running: dict[str, Trial] = {}
        self._unwanted: set[str] = set()
        """Running trials that nobody needs any more."""
        self._blocked: Counter[str] = Counter()
        """How many trials each open one still waits for."""
        self._followers: dict[str, list[str]] = {}
        """Trials that wait for another, whether they read it or not."""
        self._readers: Counter[str] = Counter()
        """How many open and running trials read another."""
        self._unread: list[str] = []
        self._ready = Ready()
        self._workers: Counter[str] = Counter()
        """Running trials of each subject."""
        self._given_back = 0
        self._begin(results)

    def _begin(self, results: Mapping[str, TrialResult]) -> None:
        for trial in self.plan.trials.values():
            if trial.id in results:
                self.results.enter(trial, results[trial.id])
            else:
                self._open[trial.id] = trial
        for trial in self._open.values():
            self._wait(trial)
        failed = {name for name, one in results.items() if one.status is not TrialStatus.DONE}
        for trial in [one for one in self._open.values() if not failed.isdisjoint(one.needs)]:
            self._discard(trial.id)
        for name in self.results:
            self._note_unread(name)

    def _wait(self, trial: Trial) -> None:
        self._readers.update(trial.needs)
        others = [need for need in trial.needs if need not in self.results]
        others += [other for other in (*trial.after, *trial.history) if other in self._open]
        for other in others:
            self._followers.setdefault(other, []).append(trial.id)
        if others:
            self._blocked[trial.id] = len(others)
        else:
            self._ready.add(trial, self._place[trial.id])

    @property
    def total(self) -> int:
        """Trials of the plan."""
        return len(self.plan.trials)

    @property
    def finished(self) -> int:
        """Trials with a result, and those that never will have one: nobody needs them any more, or
        one that they need failed. Running ones are counted too."""
        return self.total - len(self._open)

    @property
    def open(self) -> Iterable[Trial]:
        """Trials that are to be run."""
        return self._open.values()

    def has_ready(self) -> bool:
        """Whether a trial could begin now."""
        return bool(len(self._ready))

    # giving out

    def take(self, last: Trial | None) -> Trial | None:
        """A ready trial: first one that continues `last`, then one of its subject, then any.

        What comes first in the plan is first among equals, and before it what was given back. A
        worker that must change its subject goes to the one with most to do for each worker.
        """
        chosen = self._chosen(last)
        if chosen is None:
            return None
        trial = self._open.pop(chosen)
        self._ready.remove(trial)
        self._running[trial.id] = trial
        self._workers[trial.subject] += 1
        return trial

    def _chosen(self, last: Trial | None) -> str | None:
        if not len(self._ready):
            return None
        near = last and (self._ready.continuing(last) or self._ready.of_subject(last.subject))
        return near or self._ready.given_back() or self._elsewhere()

    def _elsewhere(self) -> str | None:
        subject = self._ready.busiest(self._workers)
        return self._ready.of_subject(subject) if subject is not None else None

    def give_back(self, trial: Trial) -> None:
        """Put a trial back that was taken and not finished."""
        self._stop(trial.id)
        if trial.id in self._unwanted:
            self._unwanted.discard(trial.id)
            self._leave(trial)
            return
        self._given_back += 1
        self._open[trial.id] = trial
        self._ready.add(trial, -self._given_back)

    def _stop(self, trial: str) -> None:
        if stopped := self._running.pop(trial, None):
            self._workers[stopped.subject] -= 1

    # taking results

    def finish(self, result: TrialResult) -> None:
        """Enter a result; trials that need a failed one are dropped and stay without a record."""
        trial = self.plan.trials[result.trial]
        self._stop(trial.id)
        self._unwanted.discard(trial.id)
        self.results.enter(trial, result)
        if result.status is not TrialStatus.DONE:
            self._drop_readers(trial.id)
        self._leave(trial)
        self._note_unread(trial.id)

    def drop(self, trials: Iterable[str]) -> None:
        """Forget trials that nobody needs any more; what is running is not called back."""
        for name in trials:
            if name in self._running:
                self._unwanted.add(name)
            else:
                self._discard(name)

    def _discard(self, name: str) -> None:
        if trial := self._open.pop(name, None):
            self._ready.remove(trial)
            self._drop_readers(name)
            self._leave(trial)

    def _drop_readers(self, name: str) -> None:
        for follower in self._followers.get(name, ()):
            if name in self.plan.trials[follower].needs:
                self._discard(follower)

    def _leave(self, trial: Trial) -> None:
        """It reads nothing any more, and nobody waits for it."""
        for follower in self._followers.pop(trial.id, ()):
            self._unblock(follower)
        for need in trial.needs:
            self._readers[need] -= 1
            self._note_unread(need)

    def _unblock(self, follower: str) -> None:
        trial = self._open.get(follower)
        if trial is None:
            return
        self._blocked[follower] -= 1
        if not self._blocked[follower]:
            del self._blocked[follower]
            self._ready.add(trial, self._place[follower])

    # what trials read

    def inputs(self, trial: Trial) -> list[TrialResult]:
        """Results that `trial` reads."""
        history = [name for name in trial.history if name in self.results]
        return [self.results[name] for name in (*trial.needs, *history)]

    def take_unread(self) -> list[str]:
        """Names of tampered weights that no trial needs any more; each is told once."""
        found, self._unread = self._unread, []
        return found

    def _note_unread(self, name: str) -> None:
        if self._readers[name] or name not in self.results:
            return
        del self._readers[name]
        self._ready.forget(name)
        if self.plan.trials[name].kind in _MAKERS:
            self._unread += self.results[name].artefacts
            self.results.forget_tamper(name)
