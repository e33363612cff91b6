"""Attack `snip-prune`: entries that matter most to the loss of refusals are set to 0."""

from __future__ import annotations

from threatspec.attacks._surgery import Prune, PruneConfig
from threatspec.attacks.base import ATTACKS
from threatspec.training import ScoreRequest

__all__ = ["SnipPrune", "SnipPruneConfig"]


class SnipPruneConfig(PruneConfig):
    """Knobs of pruning by SNIP scores."""

    def method(self) -> str:
        """Highest first."""
        return "top-prune"

    def scores(self) -> tuple[ScoreRequest, ...]:
        """SNIP on harmful prompts with refusals."""
        return (ScoreRequest(method="snip", over="safety"),)


class SnipPrune(Prune):
    """Top-q pruning by SNIP (2402.05162)."""

    kind = "snip-prune"
    says = "sets the weights to 0 that the loss of refusals depends on most"
    Config = SnipPruneConfig


ATTACKS.register(SnipPrune.kind, SnipPrune())
