"""Where the time of a trial goes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from threatspec.records import Phases

__all__ = ["Stopwatch"]


class Stopwatch:
    """Adds up seconds by phase; phases do not lie in one another."""

    def __init__(self) -> None:
        self._seconds: Counter[str] = Counter()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time spent in here counts as `name`, a field of `Phases`."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[name] += time.perf_counter() - started  # type: ignore[assignment]

    @property
    def phases(self) -> Phases:
        """So far."""
        return Phases(**{name: round(seconds, 4) for name, seconds in self._seconds.items()})
