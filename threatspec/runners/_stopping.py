"""Why no further trial may begin: Ctrl-C, or a limit on spending."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from threatspec.errors import ExitCode, ThreatspecError
from threatspec.runners._state import RunState

__all__ = ["SpendLimit", "Stopping"]

_log = logging.getLogger("threatspec")


@dataclass(frozen=True, slots=True)
class SpendLimit:
    """What all runs of a campaign together may spend; None: as much as it takes."""

    hours: float | None = None
    """Hours of workers."""
    usd: float | None = None

    def check(self, price_per_hour: float | None) -> None:
        """Raises ThreatspecError TS-USAGE for a limit in USD without a price."""
        if self.usd is not None and price_per_hour is None:
            text = "a limit in USD needs `price_per_hour` in the runner profile, which has none"
            raise ThreatspecError("TS-USAGE", text, exit_code=ExitCode.USAGE)


class Stopping:
    """Says whether further trials may begin.

    The first Ctrl-C lets running trials finish, the second ends them (as SIGTERM does).

    Args:
        limit: what may be spent.
        price_per_hour: USD for one hour of one worker.
    """

    def __init__(self, limit: SpendLimit, price_per_hour: float | None) -> None:
        self._hours = limit.hours
        self._usd = limit.usd
        self._price = price_per_hour or 0.0
        self.reason = ""
        """`interrupted`, or what is spent; empty while trials may begin."""

    def look(self, state: RunState) -> None:
        """Compare what is spent, running trials included, with the limit."""
        now = time.time()
        seconds = state.busy_s + sum(now - worker.since for worker in state.running)
        hours = seconds / 3600
        if self.reason:
            return
        if self._hours is not None and hours >= self._hours:
            self.reason = f"{self._hours:g} worker-hours may be spent, and {hours:.4g} are"
        if self._usd is not None and hours * self._price >= self._usd:
            self.reason = f"{self._usd:g} USD may be spent, and {hours * self._price:.4g} are"

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Listen to Ctrl-C and SIGTERM; only the main thread can, elsewhere they act as ever."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {
            signal.SIGINT: signal.signal(signal.SIGINT, self._interrupt),
            signal.SIGTERM: signal.signal(signal.SIGTERM, self._end),
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self.reason:
            raise KeyboardInterrupt
        self.reason = "interrupted"
        _log.warning("finishing running trials; Ctrl-C again stops them now")

    def _end(self, number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt
