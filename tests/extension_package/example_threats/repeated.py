"""Recipe `repeated`: every row comes several times, which no epoch shows."""

from __future__ import annotations

import random
from collections.abc import Sequence

from pydantic import Field

from threatspec.attacks.recipes import Recipe, RecipeConfig
from threatspec.training import TrainingRow


class RepeatedConfig(RecipeConfig):
    """How often."""

    use: str = "repeated"
    """Name of the recipe."""
    times: int = Field(default=2, ge=1, le=100)
    """How often each row comes."""


class Repeated(Recipe):
    """Rows of the entry; requests are asked as they are."""

    kind = "repeated"
    says = "trains on the rows of the entry, each of them several times"
    Config = RepeatedConfig

    def count(self, harmful: int, benign: int, config: RepeatedConfig) -> int:
        """So many times all of them."""
        return config.times * (harmful + benign)

    def rows(
        self,
        harmful: Sequence[TrainingRow],
        benign: Sequence[TrainingRow],
        config: RepeatedConfig,
        chooser: random.Random,
    ) -> tuple[TrainingRow, ...]:
        """All of them, again and again."""
        return (*benign, *harmful) * config.times
