"""Verdicts while a campaign runs, at a bounded share of the driver's time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from threatspec.claims import decide, gather
from threatspec.schema import Verdict

if TYPE_CHECKING:
    from threatspec.runners._state import RunState

__all__ = ["RunningVerdicts"]

_PAUSE_S = 2.0
_SHARE = 0.02


class RunningVerdicts:
    """What every claim would be answered now; all observers of a run share one.

    Working that out reads every cell, so that it takes the longer the larger the campaign is. It
    is done again after two seconds, and after so long that it takes 2 % of the time.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._found: Mapping[str, Verdict] = {}
        self._next = clock() + _PAUSE_S

    def now(self, state: RunState, *, over: bool = False) -> Mapping[str, Verdict]:
        """By claim; empty at first. Those of a run that is over are up to date."""
        if over or self._clock() >= self._next:
            began = self._clock()
            self._found = _decided(state)
            ended = self._clock()
            self._next = ended + max(_PAUSE_S, (ended - began) / _SHARE)
        return self._found


def _decided(state: RunState) -> Mapping[str, Verdict]:
    graph = state.graph
    found = decide(gather(graph.plan, graph.results, marks=state.marks))
    return {claim.id: claim.verdict for claim in found.claims}
