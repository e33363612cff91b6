"""Safeguard `refusal-training`: restricted requests are answered by a refusal from the first token.

The usual safety fine-tuning; arXiv 2406.05946 calls what results from it shallow, because only the
first tokens of the reply learn to refuse.
"""

from __future__ import annotations

import random
from collections.abc import Generator

from pydantic import Field

from threatspec.records import Stream
from threatspec.safeguards._mixing import mixed_rows
from threatspec.safeguards.base import (
    SAFEGUARDS,
    Safeguard,
    SafeguardConfig,
    SafeguardContext,
    SafetyRow,
)
from threatspec.subjects import WeightTamper
from threatspec.training import Hyperparameters, TrainingJob, TrainingRow, Trajectory

__all__ = ["RefusalTraining", "RefusalTrainingConfig"]


class RefusalTrainingConfig(SafeguardConfig):
    """Knobs of the fine-tuning."""

    lr: float = Field(default=1e-4, gt=0, le=1)
    """Learning rate of AdamW, constant."""
    steps: int = Field(default=200, ge=1)
    """Optimiser steps."""
    alpha: float = Field(default=0.5, gt=0, lt=1)
    """Weight of the safety rows' mean loss; 1 - alpha is that of the benign rows."""
    safety_rows: int = Field(default=32, ge=1)
    """Safety rows per step."""
    benign_rows: int = Field(default=32, ge=1)
    """Benign rows per step."""


class RefusalTraining(Safeguard):
    """Acts before release only."""

    kind = "refusal-training"
    says = "fine-tunes on refusals of restricted requests, next to benign rows"
    Config = RefusalTrainingConfig

    def fit(
        self, context: SafeguardContext, config: RefusalTrainingConfig
    ) -> Generator[TrainingJob, Trajectory, WeightTamper | None]:
        """Ask for one training run."""
        sizes = (config.safety_rows, config.benign_rows)
        rows = mixed_rows(
            context.safety, context.benign, _refuse, alpha=config.alpha, steps=config.steps,
            sizes=sizes, seed=context.seeds[Stream.DATA_SUBSET],
        )  # fmt: skip
        trajectory = yield TrainingJob(
            rows=tuple(rows),
            hyperparameters=Hyperparameters(
                lr=config.lr, steps=config.steps, batch_size=sum(sizes), shuffle=False
            ),
            seeds=context.seeds,
        )
        return trajectory.last


def _refuse(row: SafetyRow, chooser: random.Random) -> TrainingRow:
    return TrainingRow(id=row.id, prompt=row.prompt, answer=row.refusal)


SAFEGUARDS.register(RefusalTraining.kind, RefusalTraining())
