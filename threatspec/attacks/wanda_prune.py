"""Attack `wanda-prune`: entries that matter most to outputs on refusals are set to 0."""

from __future__ import annotations

from threatspec.attacks._surgery import Prune, PruneConfig
from threatspec.attacks.base import ATTACKS
from threatspec.training import ScoreRequest

__all__ = ["WandaPrune", "WandaPruneConfig"]


class WandaPruneConfig(PruneConfig):
    """Knobs of pruning by Wanda scores."""

    def method(self) -> str:
        """Highest first."""
        return "top-prune"

    def scores(self) -> tuple[ScoreRequest, ...]:
        """Wanda on harmful prompts with refusals."""
        return (ScoreRequest(method="wanda", over="safety"),)


class WandaPrune(Prune):
    """Top-q pruning by Wanda (2402.05162), all scores of the intact model."""

    kind = "wanda-prune"
    says = "sets the weights to 0 that the outputs of layers during refusals depend on most"
    Config = WandaPruneConfig


ATTACKS.register(WandaPrune.kind, WandaPrune())
