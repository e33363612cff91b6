"""Recipe `retain-then-forget`: the first part of a run sees retain rows, the rest forget rows.

Source: arXiv 2408.00761, test adversaries "R->F"; their share of retain rows is 0.4 in the README
and 0.6 by default in the code.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import islice

from pydantic import Field

from threatspec.attacks.recipes.base import RECIPES, Recipe, RecipeConfig
from threatspec.errors import ThreatspecError
from threatspec.schema import DataRole
from threatspec.training import TrainingRow

__all__ = ["RetainThenForget", "RetainThenForgetConfig"]


class RetainThenForgetConfig(RecipeConfig):
    """How long the first part is."""

    use: str = "retain-then-forget"
    """Name of the recipe."""
    share: float = Field(default=0.4, gt=0, lt=1)
    """Share of the rows that a run reads which are retain rows; they come first."""


class RetainThenForget(Recipe):
    """Two parts, in each of which rows are drawn without replacement until all were used."""

    kind = "retain-then-forget"
    says = "trains on benign rows for the first part of a run, then on harmful rows"
    roles = (DataRole.HARMFUL, DataRole.BENIGN)
    ordered = True
    Config = RetainThenForgetConfig

    def count(self, harmful: int, benign: int, config: RetainThenForgetConfig) -> int:
        """All of them."""
        return harmful + benign

    def rows(
        self,
        harmful: Sequence[TrainingRow],
        benign: Sequence[TrainingRow],
        config: RetainThenForgetConfig,
        chooser: random.Random,
    ) -> tuple[TrainingRow, ...]:
        """All of them, benign ones first. Raises ThreatspecError TS-RECIPE if a part is empty."""
        for role, part in (("benign", benign), ("harmful", harmful)):
            if not part and (harmful or benign):
                text = f"recipe retain-then-forget needs {role} rows, but there are none"
                raise ThreatspecError("TS-RECIPE", text)
        return (*benign, *harmful)

    def sequence(
        self,
        harmful: Sequence[TrainingRow],
        benign: Sequence[TrainingRow],
        config: RetainThenForgetConfig,
        total: int,
        chooser: random.Random,
    ) -> tuple[TrainingRow, ...]:
        """`share` of the rows from the retain set, the rest from the forget set."""
        first = round(config.share * total)
        retain = islice(_epochs(benign, chooser), first)
        return (*retain, *islice(_epochs(harmful, chooser), total - first))


def _epochs(rows: Sequence[TrainingRow], chooser: random.Random) -> Iterator[TrainingRow]:
    """All rows in a new order, again and again."""
    while rows:
        yield from chooser.sample(rows, len(rows))


RECIPES.register(RetainThenForget.kind, RetainThenForget())
