"""One worker process as its driver sees it."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from threatspec.records import Execution, Trial, TrialResult

__all__ = ["Answer", "Worker"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a worker sent: a result, or None when its process ended."""

    worker: str
    generation: int
    result: TrialResult | None


class Worker:
    """Starts `python -m threatspec.runners._worker`, sends trials, restarts it when it is lost.

    Answers arrive in `answers`. A process that is replaced cannot answer any more: its generation
    number no longer matches.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        spec_folder: Path,
        execution: Execution,
        answers: queue.Queue[Answer],
    ) -> None:
        self.name = name
        self.generation = 0
        self.running: Trial | None = None
        self.last: Trial | None = None
        self.started_at = 0.0
        self._hello = json.dumps(
            {"folder": str(folder), "spec_folder": str(spec_folder),
             "execution": execution.model_dump(mode="json")}
        )  # fmt: skip
        self._log = folder / f"{name}.log"
        self._answers = answers
        self._process: subprocess.Popen[str] | None = None

    def send(self, trial: Trial, inputs: list[TrialResult]) -> None:
        """Give the process a trial; it must have none."""
        task = {"trial": trial.model_dump_json(), "inputs": [i.model_dump_json() for i in inputs]}
        if self._process is None or self._process.poll() is not None:
            self._start()
        self.running = self.last = trial
        self._write(json.dumps(task))

    def done(self) -> None:
        """The answer of the running trial was taken."""
        self.running = None

    def kill(self) -> None:
        """End the process at once; what it was doing is lost."""
        self.generation += 1
        self.running = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            if self._process.stdin is not None:
                with suppress(OSError):
                    self._process.stdin.close()
            self._process = None

    def _start(self) -> None:
        self.generation += 1
        self.last = None
        with self._log.open("a", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "threatspec.runners._worker"],
                env={**os.environ, "PYTHONPATH": _search_path()},
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
        self._write(self._hello)

    def _write(self, line: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        # A process that dies before it has read this is reported as lost by its reader thread.
        with suppress(OSError):
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()

    def _read(self, stream: IO[str], generation: int) -> None:
        with stream:
            self._read_lines(stream, generation)
        self._answers.put(Answer(self.name, generation, None))

    def _read_lines(self, stream: IO[str], generation: int) -> None:
        for line in stream:
            result = TrialResult.model_validate_json(line)
            self._answers.put(Answer(self.name, generation, result))


def _search_path() -> str:
    """Where this process finds modules and plug-ins; a worker must find the very same."""
    return os.pathsep.join(path or os.getcwd() for path in sys.path)
