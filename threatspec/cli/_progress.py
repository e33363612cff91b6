"""Live progress of a run: a bar with running verdicts and an ETA; silent when not a terminal."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from threatspec.runners import Observer, RunState, TimeLeft
from threatspec.schema import Verdict

__all__ = ["Bar", "observer"]


def observer() -> Observer | None:
    """A bar if standard error is a terminal, else nothing."""
    return Bar() if sys.stderr.isatty() else None


class Bar:
    """Shows trials done, time left, and verdicts so far."""

    def __init__(self, console: Console | None = None) -> None:
        self._progress = Progress(
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[eta]}"),
            TextColumn("{task.fields[verdicts]}", style="dim"),
            console=console or Console(stderr=True),
            transient=True,
        )
        self._task = self._progress.add_task("", total=None, eta="", verdicts="")
        self._left = TimeLeft()

    def update(self, state: RunState, *, over: bool) -> None:
        """Redraw; the verdicts are as old as they must be to cost little."""
        if over:
            self._progress.stop()
            return
        self._progress.start()
        self._progress.update(
            self._task,
            total=state.graph.total,
            completed=state.done,
            eta=_eta(self._left.seconds(state)),
            verdicts=_counted(state.verdicts.now(state)),
        )


def _eta(seconds: float | None) -> str:
    if seconds is None:
        return "estimating"
    return f"about {seconds:.0f} s left" if seconds < 90 else f"about {seconds / 60:.0f} min left"


def _counted(verdicts: Mapping[str, Verdict]) -> str:
    counts = Counter(verdicts.values())
    said = ", ".join(f"{n} {verdict.value}" for verdict, n in sorted(counts.items()))
    return f"so far: {said}" if said else ""
