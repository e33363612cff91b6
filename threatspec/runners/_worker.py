"""A worker process: reads trials as JSON lines, answers results as JSON lines.

Started by a runner as `python -m threatspec.runners._worker`. The first line says which campaign.
Whatever else prints in this process goes to standard error, which the runner keeps as a log.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path

from threatspec.records import Execution, Trial, TrialResult
from threatspec.runners._executor import Executor

__all__ = ["main"]


def main() -> None:
    """Serve until standard input ends or the parent process is gone."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    threading.Thread(target=_leave_with_parent, args=(os.getppid(),), daemon=True).start()
    hello = json.loads(sys.stdin.readline())
    executor = Executor(
        Path(hello["folder"]),
        Path(hello["spec_folder"]),
        Execution.model_validate(hello["execution"]),
    )
    for line in sys.stdin:
        task = json.loads(line)
        inputs = [TrialResult.model_validate_json(text) for text in task["inputs"]]
        trial = Trial.model_validate_json(task["trial"])
        result = executor.run(trial, {entry.trial: entry for entry in inputs})
        answers.write(result.model_dump_json() + "\n")
        answers.flush()


def _leave_with_parent(parent: int) -> None:
    """A killed driver must not leave workers behind that go on computing."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


if __name__ == "__main__":
    main()
