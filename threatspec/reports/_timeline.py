"""Where the time of workers went, from attempts, results and events of a ledger.

All times are run time: seconds during which a driver ran. Between a stop and a resume there is
none, so that a night in between is nobody's idle time.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from threatspec.records import Ledger, Phases, TrialResult
from threatspec.reports._lanes import Piece, Span, paths
from threatspec.reports._words import counted, duration, percent

__all__ = ["BUSY", "WASTED", "Timeline", "WorkerTime", "timeline", "timeline_of"]

BUSY = (*Phases.model_fields, "other")
WASTED = ("repeated", "lost")
_LOST = frozenset({"TS-WORKER-LOST", "TS-WORKER-MEMORY", "TS-TRIAL-TIMEOUT"})
_SHOWN = 0.05
"""Seconds from which on a kind is told in words."""
_DRAWN = 40
"""Workers that have a lane and a line of their own."""
_TELLING = frozenset({"run-started", "worker-started", "worker-lost"})


@dataclass(frozen=True)
class WorkerTime:
    """Seconds of one worker, or of several together."""

    name: str
    trials: int
    """Results that count."""
    seconds: Mapping[str, float]
    """By `BUSY` and `WASTED`, and `idle`."""
    paths: tuple[tuple[str, str], ...] = ()
    """What is drawn of it: SVG paths by kind."""

    @property
    def busy(self) -> float:
        """Seconds that led to results."""
        return sum(self.seconds[kind] for kind in BUSY)

    @property
    def utilisation(self) -> float:
        """Share of its time that led to results."""
        whole = sum(self.seconds.values())
        return self.busy / whole if whole else 0.0

    @property
    def says(self) -> str:
        """In words, without what there was none of."""
        parts = [f"{kind} {duration(s)}" for kind, s in self.seconds.items() if s >= _SHOWN]
        return f"{percent(self.utilisation)} % busy; {', '.join(parts) or 'no time at all'}"


@dataclass(frozen=True)
class Timeline:
    """Where the time of a campaign went."""

    span: float
    """Run time, in seconds."""
    workers: tuple[WorkerTime, ...]

    @property
    def drawn(self) -> tuple[WorkerTime, ...]:
        """Those that are shown one by one."""
        return self.workers[:_DRAWN]

    @cached_property
    def others(self) -> WorkerTime | None:
        """The rest of them, together."""
        rest = self.workers[_DRAWN:]
        return _together(f"{len(rest)} more", rest) if rest else None

    @cached_property
    def total(self) -> WorkerTime:
        """All of them together."""
        return _together("all together", self.workers)

    @property
    def kinds(self) -> tuple[str, ...]:
        """What time was spent on, besides idling."""
        return tuple(k for k in (*BUSY, *WASTED) if self.total.seconds[k] > 0)

    @property
    def says(self) -> str:
        """One sentence."""
        workers, share = counted(len(self.workers), "worker"), percent(self.total.utilisation)
        rest = (f"{duration(self.total.seconds[kind])} {kind}" for kind in ("idle", *self._wasted))
        ran = f"{share} % of the time of {workers} in {duration(self.span)}"
        return f"{ran} led to results; {', '.join(rest)}"

    @property
    def _wasted(self) -> tuple[str, ...]:
        return tuple(kind for kind in WASTED if self.total.seconds[kind] >= _SHOWN)

    @property
    def data(self) -> dict[str, Any]:
        """As plain data."""
        named = ((w.name, w) for w in self.workers)
        return {
            "seconds": round(self.span, 3),
            "total": _data(self.total),
            "workers": [{"worker": name, **_data(one)} for name, one in named],
        }


def timeline_of(ledger: Ledger) -> Timeline | None:
    """Of a campaign, or nothing if it has not begun."""
    return timeline(ledger.attempts(), ledger.results(), ledger.history())


def timeline(
    attempts: Sequence[Mapping[str, Any]],
    results: Mapping[str, TrialResult],
    history: Sequence[Mapping[str, Any]],
) -> Timeline | None:
    """Where time went, from what a ledger holds; nothing without attempts."""
    if not attempts:
        return None
    told = [entry for entry in history if entry["kind"] in _TELLING]
    clock = _Clock(_sessions(attempts, told))
    there = _presence(told, clock)
    work: dict[str, list[Mapping[str, Any]]] = {name: [] for name in there}
    for attempt in attempts:
        work.setdefault(attempt["worker"], []).append(attempt)
    lines = [
        _worker(name, work[name], results, there.get(name, []), clock, drawn=n < _DRAWN)
        for n, name in enumerate(sorted(work, key=_in_order))
    ]
    return Timeline(clock.end, tuple(lines))


# run time


class _Clock:
    """Seconds since the epoch to run time."""

    def __init__(self, sessions: Sequence[Span]) -> None:
        self._sessions = sessions
        self._starts = [start for start, _ in sessions]
        self.ends = [0.0]
        for start, end in sessions:
            self.ends.append(self.ends[-1] + end - start)

    @property
    def end(self) -> float:
        return self.ends[-1]

    def __call__(self, at: float) -> float:
        number = max(bisect_right(self._starts, at) - 1, 0)
        start, end = self._sessions[number]
        return self.ends[number] + min(max(at, start), end) - start

    def session_end(self, at: float) -> float:
        """End of the session in which the run time `at` lies."""
        return next((end for end in self.ends[1:] if at <= end), self.end)


def _sessions(
    attempts: Iterable[Mapping[str, Any]], told: Iterable[Mapping[str, Any]]
) -> list[Span]:
    """When a driver ran; one that was killed ran until the last thing that it wrote down."""
    times = [(one["started"], "") for one in attempts] + [(one["ended"], "") for one in attempts]
    times += [(one["at"], one["kind"]) for one in told]
    found: list[Span] = []
    for at, kind in sorted(times):
        if kind == "run-started" or not found:
            found.append((at, at))
        else:
            found[-1] = (found[-1][0], at)
    return found


def _presence(told: Iterable[Mapping[str, Any]], clock: _Clock) -> dict[str, list[Span]]:
    """When each worker was there: from its start to its loss or the end of the session."""
    found: dict[str, list[Span]] = {}
    for entry in told:
        at, name = clock(entry["at"]), entry["detail"].get("worker", "")
        if entry["kind"] == "worker-started":
            found.setdefault(name, []).append((at, clock.session_end(at)))
        elif entry["kind"] == "worker-lost" and name in found:
            start, end = found[name][-1]
            found[name][-1] = (start, min(end, max(at, start)))
    return found


# one worker


def _worker(
    name: str,
    attempts: Sequence[Mapping[str, Any]],
    results: Mapping[str, TrialResult],
    there: list[Span],
    clock: _Clock,
    *,
    drawn: bool,
) -> WorkerTime:
    seconds: Counter[str] = Counter()
    pieces: list[Piece] = []
    spans = [(clock(one["started"]), clock(one["ended"])) for one in attempts]
    for attempt, (at, end) in zip(attempts, spans, strict=True):
        for kind, took in _parts(attempt, results.get(attempt["trial"]), end - at):
            seconds[kind] += took  # type: ignore[assignment]
            pieces.append((kind, at, at + took))
            at += took
    present = there or [(at, clock.session_end(at)) for at, _ in spans]  # nobody told of its start
    idle = max(0.0, _length([*present, *spans]) - seconds.total())
    shown = {kind: float(seconds[kind]) for kind in (*BUSY, *WASTED)}
    return WorkerTime(
        name,
        sum(bool(one["final"]) and one["code"] not in _LOST for one in attempts),
        {**shown, "idle": idle},
        paths(pieces, clock.end, (*BUSY, *WASTED)) if drawn else (),
    )


def _parts(
    attempt: Mapping[str, Any], result: TrialResult | None, whole: float
) -> Iterator[tuple[str, float]]:
    """What an attempt went to; the rest of it is waiting for the driver."""
    if attempt["code"] in _LOST:
        yield "lost", whole
    elif not attempt["final"]:
        yield "repeated", whole
    elif result is not None:
        phases = result.phases.model_dump()
        phases["other"] = max(0.0, result.spend.seconds - result.phases.total)
        measured = sum(phases.values())
        fits = min(1.0, whole / measured) if measured else 0.0  # two clocks never agree
        yield from ((kind, took * fits) for kind, took in phases.items() if took)


def _length(spans: Iterable[Span]) -> float:
    """Of all of them together; what lies on top of one another counts once."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def _in_order(name: str) -> list[tuple[int, str]]:
    """`worker-2` comes before `worker-10`."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _together(name: str, workers: Sequence[WorkerTime]) -> WorkerTime:
    kinds = (*BUSY, *WASTED, "idle")
    seconds = {kind: sum(one.seconds[kind] for one in workers) for kind in kinds}
    return WorkerTime(name, sum(one.trials for one in workers), seconds)


def _data(one: WorkerTime) -> dict[str, Any]:
    seconds = {kind: round(value, 3) for kind, value in one.seconds.items()}
    return {"trials": one.trials, "seconds": seconds, "utilisation": round(one.utilisation, 4)}
