"""The state of a trial graph: what is ready, running, finished. Pure bookkeeping, any runner."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from threatspec.records import Plan, Trial, TrialKind, TrialResult, TrialStatus

__all__ = ["TrialGraph"]


class TrialGraph:
    """Hands out trials in plan order, dependencies first, near what a worker has mounted.

    Args:
        plan: the frozen campaign.
        results: what is already there.
    """

    def __init__(self, plan: Plan, results: Mapping[str, TrialResult]) -> None:
        self.plan = plan
        self.results = dict(results)
        self._open = {t.id: t for t in plan.trials.values() if t.id not in self.results}
        self._waiting = set(self._open)
        """Trials that are open or running: what others may still have to wait for."""
        self._readers: dict[str, set[str]] = {}
        for trial in self._open.values():
            for need in trial.needs:
                self._readers.setdefault(need, set()).add(trial.id)
        for result in results.values():
            if result.status is not TrialStatus.DONE:
                self._drop_readers(result.trial)

    @property
    def total(self) -> int:
        """Trials of the plan."""
        return len(self.plan.trials)

    @property
    def finished(self) -> int:
        """Trials with a result, and those that never will have one: nobody needs them any more, or
        one that they need failed."""
        return self.total - len(self._open)

    @property
    def open(self) -> Iterable[Trial]:
        """Trials that are to be run."""
        return self._open.values()

    def take(self, last: Trial | None) -> Trial | None:
        """A ready trial: first one that continues `last`, then one of its subject, then any."""
        ready = [trial for trial in self._open.values() if self._ready(trial)]
        if not ready:
            return None
        chosen = max(ready, key=lambda t: _affinity(t, last))
        del self._open[chosen.id]
        return chosen

    def _ready(self, trial: Trial) -> bool:
        waits = any(other in self._waiting for other in trial.after)
        return not waits and all(need in self.results for need in trial.needs)

    def give_back(self, trial: Trial) -> None:
        """Put a trial back that was taken and not finished."""
        self._open = {trial.id: trial, **self._open}

    def finish(self, result: TrialResult) -> None:
        """Enter a result; trials that need a failed one are dropped and stay without a record."""
        self.results[result.trial] = result
        self._leave(result.trial)
        if result.status is not TrialStatus.DONE:
            self._drop_readers(result.trial)

    def drop(self, trials: Iterable[str]) -> None:
        """Forget trials that nobody needs any more; what is running is not called back."""
        for trial in trials:
            if self._open.pop(trial, None):
                self._leave(trial)

    def inputs(self, trial: Trial) -> list[TrialResult]:
        """Results that `trial` reads."""
        return [self.results[need] for need in trial.needs]

    def unread(self) -> Iterable[str]:
        """Finished attack trials whose tampered weights no open trial needs any more."""
        return (trial for trial in self._attacks() if not self._readers.get(trial))

    def needed(self) -> Iterable[str]:
        """Finished attack trials that open trials still read."""
        return (trial for trial in self._attacks() if self._readers.get(trial))

    def _attacks(self) -> Iterable[str]:
        for trial in self.plan.trials.values():
            if trial.kind is TrialKind.ATTACK and trial.id in self.results:
                yield trial.id

    def _leave(self, trial: str) -> None:
        """It reads nothing any more, and nobody waits for it."""
        self._waiting.discard(trial)
        for need in self.plan.trials[trial].needs:
            self._readers.get(need, set()).discard(trial)

    def _drop_readers(self, trial: str) -> None:
        for reader in list(self._readers.get(trial, ())):
            self._open.pop(reader, None)
            self._leave(reader)
            self._drop_readers(reader)


def _affinity(trial: Trial, last: Trial | None) -> tuple[bool, bool]:
    """max() takes the first of equals, so plan order decides between equals."""
    if last is None:
        return (False, False)
    continues = last.id in trial.needs or bool(set(trial.needs) & set(last.needs))
    return (continues, trial.subject == last.subject)
