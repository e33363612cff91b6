"""Safeguard `refusal-training`: restricted requests are answered by a refusal from the first token.

The usual safety fine-tuning; arXiv 2406.05946 calls what results from it shallow, because only the
first tokens of the reply learn to refuse.
"""

from __future__ import annotations

import random
from collections.abc import Generator

from threatspec.records import Spend
from threatspec.safeguards._mixing import MixedConfig, fit_mixed, mixed_cost
from threatspec.safeguards.base import SAFEGUARDS, Fitted, Safeguard, SafeguardContext, Stage
from threatspec.subjects import SubjectCard
from threatspec.training import TrainingJob, TrainingRow, Trajectory

__all__ = ["RefusalTraining", "RefusalTrainingConfig"]


class RefusalTrainingConfig(MixedConfig):
    """Knobs of the fine-tuning."""


class RefusalTraining(Safeguard):
    """Acts before release only."""

    kind = "refusal-training"
    says = "fine-tunes on refusals of restricted requests, next to benign rows"
    stages = frozenset({Stage.RELEASE})
    Config = RefusalTrainingConfig

    def cost(
        self, subject: SubjectCard, config: RefusalTrainingConfig, rows: int, words: int
    ) -> Spend:
        """By formula, of one run."""
        return mixed_cost(subject, config, words)

    def fit(
        self, context: SafeguardContext, config: RefusalTrainingConfig
    ) -> Generator[TrainingJob, Trajectory, Fitted]:
        """Ask for one training run."""
        return (yield from fit_mixed(context, config, _refuse))


def _refuse(row: TrainingRow, chooser: random.Random) -> TrainingRow:
    return TrainingRow(id=row.id, prompt=row.prompt, answer=row.refusal)


SAFEGUARDS.register(RefusalTraining.kind, RefusalTraining())
