"""Workers on this machine."""

from __future__ import annotations

import queue

from threatspec.records import Trial, TrialResult
from threatspec.runners._pool import Answer
from threatspec.runners._process import Process
from threatspec.runners._work import Errand

__all__ = ["LocalPool"]


class LocalPool:
    """Worker processes; one that was lost is started again by the next trial."""

    def __init__(self, errand: Errand, workers: int) -> None:
        self.answers: queue.Queue[Answer] = queue.Queue()
        names = [f"worker-{n}" for n in range(1, workers + 1)]
        self.workers = {name: Process(name, errand, self.answers) for name in names}

    def check(self) -> None:
        """A machine has room for its own processes."""

    def finished(self, trial: Trial, result: TrialResult, seconds: float) -> None:
        """Nobody else is told."""

    def close(self) -> None:
        """End all workers."""
        for worker in self.workers.values():
            worker.kill()
