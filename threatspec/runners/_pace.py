"""How long trials take, and which one takes too long."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from statistics import median

from threatspec.records import Trial, TrialKind

__all__ = ["Pace"]

_KEPT = 101
"""Durations of each kind that are remembered, the latest."""
_LEAST = 5
"""Durations of a kind that must be known before one of its trials can be too slow."""
_FLOOR_S = 2.0
"""Nothing shorter is worth a second run."""


class Pace:
    """Finds the trial whose second run is most worth while.

    Args:
        factor: times the median of its kind after which a trial is overdue; 0: never.
    """

    def __init__(self, factor: float) -> None:
        self._factor = factor
        self._seconds: dict[TrialKind, deque[float]] = defaultdict(lambda: deque(maxlen=_KEPT))

    def add(self, trial: Trial, seconds: float) -> None:
        """A trial has ended."""
        self._seconds[trial.kind].append(seconds)

    def overdue(self, running: Sequence[tuple[Trial, float]], now: float) -> Trial | None:
        """Of running trials with their starts, the one that is longest overdue."""
        limits = {kind: self._limit(kind) for kind in {trial.kind for trial, _ in running}}
        late = [(now - since - limits[trial.kind], trial) for trial, since in running]
        worst = max(late, key=lambda entry: entry[0], default=None)
        return worst[1] if worst and worst[0] > 0 else None

    def _limit(self, kind: TrialKind) -> float:
        known = self._seconds[kind]
        if not self._factor or len(known) < _LEAST:
            return float("inf")
        return max(_FLOOR_S, self._factor * median(known))
