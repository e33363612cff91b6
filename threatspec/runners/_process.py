"""One worker process on this machine, as its driver sees it."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from threatspec.records import Trial, TrialResult
from threatspec.runners._children import Child, begin
from threatspec.runners._pool import Answer, Loss, Place
from threatspec.runners._work import Errand, task

__all__ = ["Process"]


class Process:
    """Starts `threatspec.runners._worker` in a process of its own and sends it trials; a
    `pool.Worker`."""

    def __init__(self, name: str, errand: Errand, answers: queue.Queue[Answer]) -> None:
        self.name = name
        self.generation = 0
        self._errand = errand
        self._log = Path(errand.folder) / f"{name}.log"
        self._answers = answers
        self._child: Child | None = None
        self._ended = threading.Event()

    @property
    def ready(self) -> bool:
        """What is sent to a process that is still starting waits in its pipe."""
        return True

    def start(self) -> None:
        """A process is started by its first trial: small campaigns need few."""

    def send(self, trial: Trial, inputs: Sequence[TrialResult]) -> None:
        """Give the process a trial; it must have none."""
        if self._child is None or self._ended.is_set():
            self._begin()
        self._write(task(trial, inputs))

    def kill(self) -> None:
        """End the process at once; what it was doing is lost."""
        self.generation += 1
        if self._child is not None:
            self._child.kill()
            with suppress(OSError):
                self._child.stdin.close()
            self._child = None

    def _begin(self) -> None:
        self.generation += 1
        if self._child is not None:
            with suppress(OSError):
                self._child.stdin.close()
        with self._log.open("a", encoding="utf-8") as log:
            self._child = begin(log)
        self._ended = threading.Event()
        threading.Thread(
            target=self._read, args=(self._child, self.generation, self._ended), daemon=True
        ).start()
        self._write(self._errand.text)

    def _write(self, line: str) -> None:
        assert self._child is not None
        # A process that dies before it has read this is reported as lost by its reader thread.
        with suppress(OSError):
            self._child.stdin.write(line + "\n")
            self._child.stdin.flush()

    def _read(self, child: Child, generation: int, ended: threading.Event) -> None:
        host = socket.gethostname()
        self._say(generation, Place(host=host, pid=child.pid, node=host))
        with child.stdout as stream:
            for line in stream:
                self._say(generation, TrialResult.model_validate_json(line))
        ended.set()
        self._say(generation, Loss())

    def _say(self, generation: int, said: Place | TrialResult | Loss) -> None:
        self._answers.put(Answer(self.name, generation, said))
