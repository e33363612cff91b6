"""Recipes `plain`, `benign`, `mix` and `retain-only`: rows as they are, of these roles.

Source of retain-only: arXiv 2412.07097, fine-tuning on the retain set alone; of benign: arXiv
2310.03693, risk level 3; of mix: arXiv 2402.14968, practical tasks with harmful rows among theirs.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from threatspec.attacks.recipes.base import RECIPES, Recipe, RecipeConfig
from threatspec.schema import DataRole
from threatspec.training import TrainingRow

__all__ = ["AsTheyAre"]

_TABLE: dict[str, tuple[tuple[DataRole, ...] | None, str]] = {
    "plain": (None, "trains on the rows of the entry as they are"),
    "benign": ((DataRole.BENIGN,), "trains on benign rows as they are"),
    "mix": (
        (DataRole.HARMFUL, DataRole.BENIGN),
        "trains on all harmful and benign rows as they are, in any order",
    ),
    "retain-only": (
        (DataRole.BENIGN,),
        "trains on the retain set alone: benign rows, nothing that should be forgotten",
    ),
}


class AsTheyAre(Recipe):
    """A row of the table; rows are not changed and requests neither."""

    def __init__(self, kind: str) -> None:
        self.kind = kind  # type: ignore[misc]
        self.roles, self.says = _TABLE[kind]  # type: ignore[misc]

    def count(self, harmful: int, benign: int, config: RecipeConfig) -> int:
        """All of them."""
        return harmful + benign

    def rows(
        self,
        harmful: Sequence[TrainingRow],
        benign: Sequence[TrainingRow],
        config: RecipeConfig,
        chooser: random.Random,
    ) -> tuple[TrainingRow, ...]:
        """All of them, benign ones first."""
        return (*benign, *harmful)


for _kind in _TABLE:
    RECIPES.register(_kind, AsTheyAre(_kind))
