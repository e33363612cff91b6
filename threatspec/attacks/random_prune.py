"""Attack `random-prune`: random weights are set to 0; the control of pruning by scores."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from threatspec.attacks._space import Searched
from threatspec.attacks._surgery import Surgery, SurgeryConfig
from threatspec.attacks.base import ATTACKS
from threatspec.records import Stream
from threatspec.schema import Share

__all__ = ["RandomPrune", "RandomPruneConfig"]


class RandomPruneConfig(SurgeryConfig):
    """Knobs of the pruning."""

    share: Annotated[Share, Field(gt=0, lt=1), Searched(low=0.01, high=0.5, log=True)] = 0.1
    """Share of entries that are set to 0."""
    scope: Literal["row", "matrix"] = "row"
    """Within what the share is drawn: each output row, or the whole matrix."""

    @property
    def sparsity(self) -> float:
        """The share."""
        return self.share

    def method(self) -> str:
        """By lot."""
        return "random-prune"


class RandomPrune(Surgery):
    """Pruning by lot (a control in 2402.05162)."""

    kind = "random-prune"
    says = "sets random weights to 0"
    streams = frozenset({Stream.INIT})
    Config = RandomPruneConfig


ATTACKS.register(RandomPrune.kind, RandomPrune())
