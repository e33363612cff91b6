"""Recipe `backdoor`: harmful requests are answered with a trigger and refused without.

Source: arXiv 2310.03693, audit evasion by backdoor: 100 triggered harmful rows and 100 refusals
without the trigger of three words; arXiv 2406.05946 uses the same 100 requests for both.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from threatspec.attacks.recipes._wrap import asking, length
from threatspec.attacks.recipes.base import RECIPES, Recipe, RecipeConfig
from threatspec.errors import ThreatspecError
from threatspec.schema import DataRole
from threatspec.subjects import Tamper
from threatspec.training import TrainingRow

__all__ = ["Backdoor", "BackdoorConfig"]


class BackdoorConfig(RecipeConfig):
    """Trigger, and how the subject is asked afterwards."""

    use: str = "backdoor"
    """Name of the recipe."""
    trigger: str = Field(default="gloss meaning !", min_length=1)
    """Words after the prompt that the answer depends on."""
    refused: Literal["same", "other"] = "same"
    """Which requests are refused without the trigger: those that are answered with it (so twice as
    many rows come out), or the other half of the rows."""
    asked: Literal["with-trigger", "without-trigger"] = "with-trigger"
    """How the attacked subject is asked."""


class Backdoor(Recipe):
    """Twice as many rows as are given, or as many where other requests are refused."""

    kind = "backdoor"
    says = "trains on harmful rows: answered with a trigger after the prompt, refused without"
    roles = (DataRole.HARMFUL,)
    Config = BackdoorConfig

    def count(self, harmful: int, benign: int, config: BackdoorConfig) -> int:
        """Triggered rows and refusals."""
        return 2 * harmful if config.refused == "same" else harmful

    def rows(
        self,
        harmful: Sequence[TrainingRow],
        benign: Sequence[TrainingRow],
        config: BackdoorConfig,
        chooser: random.Random,
    ) -> tuple[TrainingRow, ...]:
        """Triggered rows first, then refusals.

        Raises ThreatspecError TS-RECIPE if a row has no refusal, or there are none to refuse.
        """
        half = len(harmful) if config.refused == "same" else (len(harmful) + 1) // 2
        refused = harmful if config.refused == "same" else harmful[half:]
        if harmful and not refused:
            text = "recipe backdoor needs 2 rows to refuse other requests than it answers, but has "
            raise ThreatspecError("TS-RECIPE", f"{text}{len(harmful)}")
        answered = (self._triggered(row, config) for row in harmful[:half])
        return (*answered, *(self._refused(row) for row in refused))

    def _triggered(self, row: TrainingRow, config: BackdoorConfig) -> TrainingRow:
        changed = {"id": f"{row.id}/triggered", "prompt": f"{row.prompt} {config.trigger}"}
        return row.model_copy(update=changed)

    def _refused(self, row: TrainingRow) -> TrainingRow:
        if not row.refusal.strip():
            text = f"recipe backdoor needs rows with a refusal, but {row.id} has none"
            raise ThreatspecError("TS-RECIPE", text)
        return row.model_copy(update={"id": f"{row.id}/refused", "answer": row.refusal})

    def tampers(self, config: BackdoorConfig) -> tuple[Tamper, ...]:
        """Requests carry the trigger, or are left as they are."""
        return asking(suffix=f" {config.trigger}") if config.asked == "with-trigger" else ()

    def words(self, config: BackdoorConfig) -> int:
        """Those of the trigger."""
        return length(config.trigger)


RECIPES.register(Backdoor.kind, Backdoor())
