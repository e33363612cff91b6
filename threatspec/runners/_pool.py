"""Workers as a driver sees them, wherever they run."""

from __future__ import annotations

import queue
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from threatspec.records import Trial, TrialResult

__all__ = ["Answer", "Loss", "Place", "Pool", "Worker"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a worker has started."""

    host: str
    pid: int
    node: str
    """Id of the node, or the host's name where there are no nodes."""


@dataclass(frozen=True, slots=True)
class Loss:
    """Why a worker was lost."""

    code: str = "TS-WORKER-LOST"
    message: str = "the worker process ended"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a worker has to say: it has started, it has a result, or it is gone."""

    worker: str
    generation: int
    said: Place | TrialResult | Loss


class Worker(Protocol):
    """A process with resident subjects; it is started anew whenever it was lost.

    Answers arrive in the pool's queue with the worker's generation: a process that was replaced
    cannot answer any more, its number no longer matches.
    """

    name: str
    generation: int

    @property
    def ready(self) -> bool:
        """Whether a trial that is sent now will be begun at once."""
        ...

    def start(self) -> None:
        """Have a process, if there is none."""
        ...

    def send(self, trial: Trial, inputs: Sequence[TrialResult]) -> None:
        """Give the process a trial; it must have none."""
        ...

    def kill(self) -> None:
        """End the process at once; what it was doing is lost."""
        ...


class Pool(Protocol):
    """All workers of a run."""

    @property
    def workers(self) -> Mapping[str, Worker]:
        """By name."""
        ...

    @property
    def answers(self) -> queue.Queue[Answer]:
        """What workers say."""
        ...

    def check(self) -> None:
        """Raises ThreatspecError if no worker can be had any more."""
        ...

    def finished(self, trial: Trial, result: TrialResult, seconds: float) -> None:
        """Told of every result, e.g. for metrics."""
        ...

    def close(self) -> None:
        """End all workers."""
        ...
