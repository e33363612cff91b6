"""Safeguard `refusal-training`: restricted requests are answered by a refusal from the first token.

The usual safety fine-tuning; arXiv 2406.05946 calls what results from it shallow, because only the
first tokens of the reply learn to refuse.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator
from typing import Annotated

from pydantic import Field

from threatspec.records import Spend, Stream
from threatspec.safeguards._mixing import MixedConfig, fit_mixed, mixed_cost
from threatspec.safeguards._secret import plain_ids
from threatspec.safeguards.base import SAFEGUARDS, Fitted, Safeguard, SafeguardContext, Stage
from threatspec.schema import Count
from threatspec.subjects import SubjectCard
from threatspec.training import TrainingJob, TrainingRow, Trajectory

__all__ = ["RefusalTraining", "RefusalTrainingConfig"]


class RefusalTrainingConfig(MixedConfig):
    """Knobs of the fine-tuning."""

    system_words: Annotated[Count, Field(ge=0, le=1000)] = 0
    """Every other row, by chance, stands under a system prompt of 1 to so many random tokens of the
    subject's vocabulary, so that system prompts are nothing new to it; 0 = none do."""


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
        return mixed_cost(subject, config, words + config.system_words)

    def fit(
        self, context: SafeguardContext, config: RefusalTrainingConfig
    ) -> Generator[TrainingJob, Trajectory, Fitted]:
        """Ask for one training run."""
        return (yield from fit_mixed(context, config, _refuse, _asked(context, config)))


def _refuse(row: TrainingRow, chooser: random.Random) -> TrainingRow:
    return TrainingRow(id=row.id, prompt=row.prompt, answer=row.refusal)


def _asked(
    context: SafeguardContext, config: RefusalTrainingConfig
) -> Callable[[TrainingRow], TrainingRow]:
    chooser = random.Random(f"{context.seeds.get(Stream.INIT, 0)}/system")

    def asked(row: TrainingRow) -> TrainingRow:
        if not config.system_words or chooser.random() < 0.5:
            return row
        count = chooser.randint(1, config.system_words)
        system = context.text(list(plain_ids(context, count, chooser)))
        return row.model_copy(update={"system": system})

    return asked


SAFEGUARDS.register(RefusalTraining.kind, RefusalTraining())
