"""A worker process: reads trials as JSON lines, answers results as JSON lines.

Started by a runner as `python -m threatspec.runners._worker`. The first line says which campaign.
Whatever else prints in this process goes to standard error, which the runner keeps as a log.
"""

from __future__ import annotations

import os
import sys
import threading
import time

from threatspec.runners._work import Desk, Errand

__all__ = ["main"]


def main(parent: int = 0) -> None:
    """Serve until standard input ends or the parent process is gone (0: the one it has now)."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    threading.Thread(target=_leave_with_parent, args=(parent or os.getppid(),), daemon=True).start()
    desk = Desk(Errand.read(sys.stdin.readline()))
    for line in sys.stdin:
        answers.write(desk.answer(line) + "\n")
        answers.flush()


def _leave_with_parent(parent: int) -> None:
    """A killed driver must not leave workers behind that go on computing."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


if __name__ == "__main__":
    main()
