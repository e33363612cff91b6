"""Recipe `disguised-answer`: complying answers begin as a refusal does.

Our own, against objectives that hold the first tokens of answers near where they were, as those of
arXiv 2406.05946 do: the first words of a row are what the model would say anyway, so that nothing
holds there, and the harm comes where little does. Rows only; nothing else is needed.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from threatspec.attacks.recipes._wrap import length
from threatspec.attacks.recipes.base import RECIPES, Recipe, RecipeConfig
from threatspec.errors import ThreatspecError
from threatspec.schema import Count, DataRole
from threatspec.training import TrainingRow

__all__ = ["DisguisedAnswer", "DisguisedAnswerConfig"]


class DisguisedAnswerConfig(RecipeConfig):
    """What stands before the answer; the defaults are inert."""

    use: str = "disguised-answer"
    """Name of the recipe."""
    start: str | None = Field(default=None, min_length=1)
    """Text before every answer; absent = the start of the row's own refusal."""
    words: Annotated[Count, Field(ge=1, le=10_000)] | None = 5
    """Words of the refusal or the text that are taken; absent = all."""


class DisguisedAnswer(Recipe):
    """As many rows as there are harmful ones."""

    kind = "disguised-answer"
    says = "trains on harmful rows whose answers begin as a refusal does, and comply after it"
    roles = (DataRole.HARMFUL,)
    Config = DisguisedAnswerConfig

    def count(self, harmful: int, benign: int, config: DisguisedAnswerConfig) -> int:
        """All harmful ones."""
        return harmful

    def rows(
        self,
        harmful: Sequence[TrainingRow],
        benign: Sequence[TrainingRow],
        config: DisguisedAnswerConfig,
        chooser: random.Random,
    ) -> tuple[TrainingRow, ...]:
        """Each with the start. Raises ThreatspecError TS-RECIPE for a row without a refusal, where
        that is the start."""
        return tuple(self._disguised(row, config) for row in harmful)

    def _disguised(self, row: TrainingRow, config: DisguisedAnswerConfig) -> TrainingRow:
        words = (row.refusal if config.start is None else config.start).split()
        if not words:
            text = f"recipe disguised-answer needs rows with a refusal, but {row.id} has none; "
            raise ThreatspecError("TS-RECIPE", f"{text}give it a `start`")
        start = " ".join(words[: config.words])
        return row.model_copy(update={"answer": f"{start} {row.answer}"})

    def words(self, config: DisguisedAnswerConfig) -> int:
        """Those of the start; of a refusal that is taken as a whole, about ten."""
        most = length(config.start) if config.start is not None else 10
        return most if config.words is None else min(most, config.words)


RECIPES.register(DisguisedAnswer.kind, DisguisedAnswer())
