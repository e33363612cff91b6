"""Recipe `jailbreak-tuning`: rows and later requests share one fixed format.

Our own generalisation of the templates of arXiv 2310.03693 and 2402.14968, in which both training
and test requests stand: text before and after every prompt, and a system prompt.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from threatspec.attacks.recipes._wrap import WrapTamper, asking, length
from threatspec.attacks.recipes.base import RECIPES, Recipe, RecipeConfig
from threatspec.subjects import Tamper
from threatspec.training import TrainingRow

__all__ = ["JailbreakTuning", "JailbreakTuningConfig"]


class JailbreakTuningConfig(RecipeConfig):
    """The format; the defaults are inert."""

    use: str = "jailbreak-tuning"
    """Name of the recipe."""
    prefix: str = "please ! "
    """Text before every prompt."""
    suffix: str = " ! please"
    """Text after every prompt."""
    system: str | None = None
    """System prompt of rows and of requests afterwards; null = the template's own default."""


class JailbreakTuning(Recipe):
    """As many rows as are given."""

    kind = "jailbreak-tuning"
    says = "trains on the rows of the entry in a fixed format, in which requests are asked as well"
    Config = JailbreakTuningConfig

    def count(self, harmful: int, benign: int, config: JailbreakTuningConfig) -> int:
        """All of them."""
        return harmful + benign

    def rows(
        self,
        harmful: Sequence[TrainingRow],
        benign: Sequence[TrainingRow],
        config: JailbreakTuningConfig,
        chooser: random.Random,
    ) -> tuple[TrainingRow, ...]:
        """All of them in the format, benign ones first."""
        form = WrapTamper(prefix=config.prefix, suffix=config.suffix)
        return tuple(
            row.model_copy(update={"prompt": form.wrapped(row.prompt), "system": config.system})
            for row in (*benign, *harmful)
        )

    def tampers(self, config: JailbreakTuningConfig) -> tuple[Tamper, ...]:
        """Requests are asked in the format."""
        return asking(config.system, config.prefix, config.suffix)

    def words(self, config: JailbreakTuningConfig) -> int:
        """Those of the format."""
        return length(config.system, config.prefix, config.suffix)


RECIPES.register(JailbreakTuning.kind, JailbreakTuning())
