"""Training jobs: what attacks and safeguards ask for, and what comes back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from pydantic import Field

from threatspec.records import Realised, Spend, Stream
from threatspec.schema import Model
from threatspec.subjects import WeightTamper
from threatspec.training._meter import Meter
from threatspec.training._policy import TrainingPolicy

__all__ = ["Hyperparameters", "Lora", "Trainer", "TrainingJob", "TrainingRow", "Trajectory"]


class TrainingRow(Model):
    """One demonstration: loss is on the answer (and the end of turn), never on what precedes it."""

    id: str
    prompt: str
    answer: str
    prefix: str = ""
    """Start of the reply that is context only: no loss (safety-recovery augmentation)."""
    weight: float = Field(default=1.0, ge=0)
    """Weight in the batch loss: sum of weight x token loss over sum of weight x tokens."""


class Lora(Model):
    """A low-rank adapter (peft)."""

    rank: int = Field(default=8, ge=1, le=1024)
    alpha: float = Field(default=16.0, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: Literal["all-linear"] | tuple[str, ...] = "all-linear"


class Hyperparameters(Model):
    """Everything that fixes an optimisation but the seeds."""

    lr: float = Field(ge=0, le=10)
    """Peak learning rate of AdamW; 0 is legal and moves nothing."""
    steps: int = Field(ge=1, le=1_000_000)
    """Optimiser steps."""
    batch_size: int = Field(ge=1, le=4096)
    """Rows per optimiser step; rows are drawn without replacement until all were used."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """Learning rate after the warm-up; linear and cosine end at 0."""
    warmup_steps: int = Field(default=0, ge=0)
    """Optimiser steps of linear warm-up."""
    weight_decay: float = Field(default=0.0, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = Field(default=1e-8, gt=0)
    clip_norm: float | None = Field(default=None, gt=0)
    """Global gradient norm is clipped to this; None = not clipped."""
    shuffle: bool = True
    """New row order in every epoch, from the `order` stream."""
    lora: Lora | None = None
    """None = full fine-tuning."""


class TrainingJob(Model):
    """One training run that somebody asks for."""

    rows: tuple[TrainingRow, ...] = Field(min_length=1)
    hyperparameters: Hyperparameters
    seeds: dict[Stream, int]
    checkpoints: tuple[int, ...] = ()
    """Steps after which the weights are kept; the last step always is."""


@dataclass(frozen=True, slots=True)
class Trajectory:
    """What one job left behind."""

    checkpoints: Mapping[int, WeightTamper]
    """Weights after so many optimiser steps."""
    realised: Realised
    spend: Spend

    @property
    def last(self) -> WeightTamper:
        """The weights after the last step."""
        return self.checkpoints[max(self.checkpoints)]


class Trainer(Protocol):
    """A training back-end."""

    name: str

    def train(
        self, jobs: Sequence[TrainingJob], policy: TrainingPolicy, meter: Meter
    ) -> list[Trajectory]:
        """Run `jobs` from the subject's own weights, which are bit-equal afterwards.

        Raises BudgetExceeded before a step that the meter's budget does not cover, ThreatspecError
        for rows that do not fit the context or adapters that match nothing.
        """
        ...
