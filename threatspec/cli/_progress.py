"""Live progress of a run: a bar with running verdicts and an ETA; silent when not a terminal."""

from __future__ import annotations

import sys
import time
from collections import Counter

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from threatspec.claims import decide, gather
from threatspec.records import Trial
from threatspec.runners import Observer, TrialGraph

__all__ = ["Bar", "observer"]


def observer() -> Observer | None:
    """A bar if standard error is a terminal, else nothing."""
    return Bar() if sys.stderr.isatty() else None


class Bar:
    """Shows trials done, time left, verdicts so far and what is running."""

    def __init__(self) -> None:
        self._progress = Progress(
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[eta]}"),
            TextColumn("{task.fields[verdicts]}", style="dim"),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._progress.add_task("", total=None, eta="", verdicts="")
        self._began: tuple[float, int] | None = None
        self._decided = 0.0

    def update(self, graph: TrialGraph, running: list[Trial]) -> None:
        """Redraw; verdicts are recomputed at most every two seconds."""
        if self._began is None:
            self._began = (time.monotonic(), graph.finished)
            self._progress.start()
        done = graph.finished - len(running)
        self._progress.update(
            self._task, total=graph.total, completed=done, eta=self._eta(graph, done)
        )
        if time.monotonic() - self._decided > 2:
            self._progress.update(self._task, verdicts=_verdicts(graph))
            self._decided = time.monotonic()
        if not running:
            self._progress.stop()

    def _eta(self, graph: TrialGraph, done: int) -> str:
        assert self._began is not None
        began, before = self._began
        if done <= before:
            return "estimating"
        seconds = (time.monotonic() - began) / (done - before) * (graph.total - done)
        return (
            f"about {seconds:.0f} s left" if seconds < 90 else f"about {seconds / 60:.0f} min left"
        )


def _verdicts(graph: TrialGraph) -> str:
    found = decide(gather(graph.plan, graph.results))
    counts = Counter(claim.verdict for claim in found.claims)
    return "so far: " + ", ".join(f"{n} {verdict.value}" for verdict, n in sorted(counts.items()))
