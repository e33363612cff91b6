"""Safeguard `recovery-augmentation`: refuse even after the first tokens of a complying answer.

Source: arXiv 2406.05946, data augmentation with safety recovery examples:
min over theta of alpha E[-log p(r | x, h_<=k)] + (1 - alpha) E[-log p(y' | x')], with k = 0 in half
of the draws and else uniform on 1..min(most, |h|); loss on the refusal r only.
"""

from __future__ import annotations

import random
from collections.abc import Generator

from pydantic import Field

from threatspec.records import Spend
from threatspec.safeguards._mixing import Demonstrate, MixedConfig, fit_mixed, mixed_cost
from threatspec.safeguards.base import SAFEGUARDS, Fitted, Safeguard, SafeguardContext, Stage
from threatspec.subjects import SubjectCard
from threatspec.training import TrainingJob, TrainingRow, Trajectory

__all__ = ["RecoveryAugmentation", "RecoveryAugmentationConfig"]


class RecoveryAugmentationConfig(MixedConfig):
    """Knobs of the fine-tuning and of the augmentation."""

    lr: float = Field(default=2e-4, gt=0, le=1)
    """Learning rate of AdamW, constant."""
    alpha: float = Field(default=0.2, gt=0, lt=1)
    """Weight of the safety rows' mean loss; 1 - alpha is that of the benign rows."""
    safety_rows: int = Field(default=16, ge=1)
    """Safety rows per step."""
    benign_rows: int = Field(default=64, ge=1)
    """Benign rows per step."""
    most: int = Field(default=100, ge=1)
    """Longest start of a complying answer, in words."""


class RecoveryAugmentation(Safeguard):
    """Acts before release only."""

    kind = "recovery-augmentation"
    source = "arXiv 2406.05946"
    says = "fine-tunes on refusals that follow the start of a complying answer, next to benign rows"
    stages = frozenset({Stage.RELEASE})
    Config = RecoveryAugmentationConfig

    def cost(
        self, subject: SubjectCard, config: RecoveryAugmentationConfig, rows: int, words: int
    ) -> Spend:
        """By formula, of one run."""
        return mixed_cost(subject, config, words)

    def fit(
        self, context: SafeguardContext, config: RecoveryAugmentationConfig
    ) -> Generator[TrainingJob, Trajectory, Fitted]:
        """Ask for one training run."""
        return (yield from fit_mixed(context, config, _recover(config.most)))


def _recover(most: int) -> Demonstrate:
    def demonstrate(row: TrainingRow, chooser: random.Random) -> TrainingRow:
        words = row.answer.split()
        k = 0 if chooser.random() < 0.5 else chooser.randint(1, min(most, len(words)))
        prefix = " ".join(words[:k])
        return TrainingRow(id=row.id, prompt=row.prompt, answer=row.refusal, prefix=prefix)

    return demonstrate


SAFEGUARDS.register(RecoveryAugmentation.kind, RecoveryAugmentation())
