"""One worker of a Ray cluster, as its driver sees it."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import cache
from typing import Any

from threatspec.records import Trial, TrialResult
from threatspec.runners._pool import Answer, Loss, Place
from threatspec.runners._profile import RayProfile
from threatspec.runners._work import Errand, task
from threatspec.runners.ray._actor import TrialActor

__all__ = ["RayWorker"]

_MOST_BETWEEN_S = 30.0
"""Between two attempts to start a worker that does not start."""


class RayWorker:
    """An actor with resident subjects; a new one is asked for whenever it was lost.

    Ray chooses the node, waits for its resources and tells when the actor is gone.
    """

    def __init__(
        self,
        name: str,
        errand: Errand,
        relative: str | None,
        profile: RayProfile,
        answers: queue.Queue[Answer],
    ) -> None:
        self.name = name
        self.generation = 0
        self.ready = False
        self._hello = (name, errand.text, relative)
        self._profile = profile
        self._answers = answers
        self.trouble: Loss | None = None
        """Why the last start failed; None once one succeeded."""
        self._actor: Any = None
        self._group: Any = None
        self._failures = 0
        self._not_before = 0.0

    def start(self) -> None:
        """Ask for an actor, if there is none; again and again, but ever more seldom."""
        if self._actor is not None or time.monotonic() < self._not_before:
            return
        self.generation += 1
        self._actor = _remote().options(**self._options()).remote(*self._hello)
        self._listen(self._actor.hello.remote(), _place)

    def send(self, trial: Trial, inputs: Sequence[TrialResult]) -> None:
        """Give the actor a trial; it must have none."""
        # Ray keeps a series of metrics for each name that a task ever had.
        named = self._actor.run.options(name=f"{trial.kind} {trial.subject}")
        done = named.remote(trial.id, task(trial, inputs))
        self._listen(done, TrialResult.model_validate_json)

    def kill(self) -> None:
        """End the actor at once; what it was doing is lost."""
        import ray

        self.generation += 1
        self.ready = False
        if self._actor is not None:
            _aside(ray.kill, self._actor)
            self._actor = None
        if self._group is not None:
            _aside(ray.util.remove_placement_group, self._group)
            self._group = None

    def _options(self) -> dict[str, Any]:
        needs = dict(self._profile.resources.named)
        named = {"num_cpus": needs.pop("CPU", 0), "num_gpus": needs.pop("GPU", 0)}
        memory = {"memory": int(needs.pop("memory"))} if "memory" in needs else {}
        return {
            **named, **memory, "resources": needs, "max_restarts": 0, "max_task_retries": 0,
            "scheduling_strategy": self._strategy(),
        }  # fmt: skip

    def _strategy(self) -> Any:
        """With a device map, the worker's GPUs are reserved together on one node."""
        if self._profile.device_map is None:
            return "SPREAD" if self._profile.placement == "spread" else "DEFAULT"
        from ray.util.placement_group import placement_group
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        self._group = placement_group([self._profile.resources.named], strategy="STRICT_PACK")
        return PlacementGroupSchedulingStrategy(self._group)

    def _listen(self, reference: Any, read: Callable[[Any], Place | TrialResult | Loss]) -> None:
        generation = self.generation

        def told(future: Future[Any]) -> None:
            said = _said(future, read)
            if generation == self.generation:
                self._note(said)
            self._answers.put(Answer(self.name, generation, said))

        reference.future().add_done_callback(told)

    def _note(self, said: Place | TrialResult | Loss) -> None:
        if isinstance(said, Place):
            self.ready, self.trouble, self._failures = True, None, 0
        elif isinstance(said, Loss) and not self.ready:
            self.trouble = said
            self._failures += 1
            self._not_before = time.monotonic() + min(_MOST_BETWEEN_S, 2.0**self._failures)


@cache
def _remote() -> Any:
    """The class as Ray has it; made once, so that it is uploaded once."""
    import ray

    return ray.remote(TrialActor)


def _aside(call: Callable[[Any], object], what: Any) -> None:
    """Nobody waits for this; if the head is gone, it would wait for a minute."""
    threading.Thread(target=call, args=(what,), daemon=True).start()


def _place(said: tuple[str, int, str, str]) -> Place | Loss:
    host, pid, node, trouble = said
    if trouble:
        return Loss("TS-STORAGE", f"node {node[:8]} ({host}): {trouble}")
    return Place(host=host, pid=pid, node=node)


def _said(
    future: Future[Any], read: Callable[[Any], Place | TrialResult | Loss]
) -> Place | TrialResult | Loss:
    error = future.exception()
    return read(future.result()) if error is None else _loss(error)


def _loss(error: BaseException) -> Loss:
    text = " ".join(str(error).split())
    if type(error).__name__ == "OutOfMemoryError" or "running low on memory" in text:
        return Loss("TS-WORKER-MEMORY", "the worker was ended, its machine ran out of memory")
    if "its node" in text and "died" in text:
        return Loss(message="the worker's node was lost")
    last = str(error).strip().splitlines()[-1:]
    return Loss(message=f"the worker was lost: {type(error).__name__}: {' '.join(last)[:300]}")
