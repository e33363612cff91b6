"""One worker process on this machine, as its driver sees it."""

from __future__ import annotations

import os
import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from threatspec.records import Trial, TrialResult
from threatspec.runners._pool import Answer, Loss, Place
from threatspec.runners._work import Errand, task

__all__ = ["Process", "search_path"]


class Process:
    """Starts `python -m threatspec.runners._worker` and sends it trials; a `pool.Worker`."""

    def __init__(self, name: str, errand: Errand, answers: queue.Queue[Answer]) -> None:
        self.name = name
        self.generation = 0
        self._errand = errand
        self._log = Path(errand.folder) / f"{name}.log"
        self._answers = answers
        self._process: subprocess.Popen[str] | None = None

    @property
    def ready(self) -> bool:
        """What is sent to a process that is still starting waits in its pipe."""
        return True

    def start(self) -> None:
        """A process is started by its first trial: small campaigns need few."""

    def send(self, trial: Trial, inputs: Sequence[TrialResult]) -> None:
        """Give the process a trial; it must have none."""
        if self._process is None or self._process.poll() is not None:
            self._begin()
        self._write(task(trial, inputs))

    def kill(self) -> None:
        """End the process at once; what it was doing is lost."""
        self.generation += 1
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            if self._process.stdin is not None:
                with suppress(OSError):
                    self._process.stdin.close()
            self._process = None

    def _begin(self) -> None:
        self.generation += 1
        with self._log.open("a", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "threatspec.runners._worker"],
                env={**os.environ, "PYTHONPATH": search_path()},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                encoding="utf-8",
                start_new_session=True,  # Ctrl-C is for the driver, which then stops the workers
            )
        assert self._process.stdout is not None
        reader = threading.Thread(
            target=self._read, args=(self._process.stdout, self.generation), daemon=True
        )
        reader.start()
        host = socket.gethostname()
        self._say(self.generation, Place(host=host, pid=self._process.pid, node=host))
        self._write(self._errand.text)

    def _write(self, line: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        # A process that dies before it has read this is reported as lost by its reader thread.
        with suppress(OSError):
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()

    def _read(self, stream: IO[str], generation: int) -> None:
        with stream:
            for line in stream:
                self._say(generation, TrialResult.model_validate_json(line))
        self._say(generation, Loss())

    def _say(self, generation: int, said: Place | TrialResult | Loss) -> None:
        self._answers.put(Answer(self.name, generation, said))


def search_path() -> str:
    """Where this process finds modules and plug-ins; a worker must find the very same."""
    return os.pathsep.join(path or os.getcwd() for path in sys.path)
