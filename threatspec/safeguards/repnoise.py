"""Safeguard `repnoise`: representations of complying answers are noised, so that little is left to
recover by fine-tuning.

Source: arXiv 2405.14577. Defaults are those of the authors' script: alpha 1, beta 0.001, lr 2e-5,
8 pairs a step, 10,000 pairs once, Adam, cosine after a warm-up of a tenth, refusals alone.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Self

from pydantic import Field, model_validator

from threatspec.records import Spend
from threatspec.safeguards.base import (
    SAFEGUARDS,
    Fitted,
    Safeguard,
    SafeguardConfig,
    SafeguardContext,
    Stage,
    require_rows,
    row_length,
)
from threatspec.schema import SafeguardRole
from threatspec.subjects import SubjectCard
from threatspec.training import (
    Hyperparameters,
    Objective,
    TrainingJob,
    Trajectory,
    training_flops,
)

__all__ = ["RepNoise", "RepNoiseConfig"]


class RepNoiseConfig(SafeguardConfig):
    """Knobs of the loss and of the optimisation."""

    lr: float = Field(default=2e-5, gt=0, le=1)
    """Peak learning rate of Adam: a tenth of the steps is warm-up, then it falls as a cosine."""
    steps: int = Field(default=1250, ge=1)
    """Optimiser steps."""
    safety_rows: int = Field(default=8, ge=1)
    """Pairs of a complying answer and a refusal per step."""
    noise_rows: int = Field(default=8, ge=1)
    """Pairs of a step whose activations are held against noise; no more than there are."""
    alpha: float = Field(default=1.0, ge=0, le=100)
    """Weight of the logarithm of the loss of complying answers, which goes up."""
    beta: float = Field(default=0.001, ge=0, le=1000)
    """Weight of the distance between activations and noise."""
    retain: float = Field(default=0.0, ge=0, lt=1)
    """Share of benign rows in what is kept; 0 = refusals alone, as published."""
    benign_rows: int = Field(default=8, ge=1)
    """Benign rows per step, if their share is more than 0."""

    @model_validator(mode="after")
    def _forgets(self) -> Self:
        if not self.alpha and not self.beta:
            raise ValueError("alpha or beta must be above 0; use refusal-training for neither")
        return self


class RepNoise(Safeguard):
    """Acts before release only."""

    kind = "repnoise"
    says = "noises what the model has inside for complying answers, and keeps its refusals"
    source = "arXiv 2405.14577"
    stages = frozenset({Stage.RELEASE})
    Config = RepNoiseConfig

    def roles(self, config: RepNoiseConfig) -> tuple[SafeguardRole, ...]:
        """Benign rows only where they have a share."""
        return ("safety", "benign") if config.retain else ("safety",)

    def cost(self, subject: SubjectCard, config: RepNoiseConfig, rows: int, words: int) -> Spend:
        """Of one run: every row as long as the longest, an output layer for each hidden state."""
        length = row_length(subject, words)
        pairs = config.steps * min(config.safety_rows, rows)
        benign = config.steps * min(config.benign_rows, rows) if config.retain else 0
        tokens = (2 * pairs + benign) * length
        read = pairs * length * (subject.layers + 1) if config.alpha else 0
        flops = training_flops(subject, tokens, length)
        flops += 6.0 * subject.vocabulary * subject.hidden * read
        return Spend(steps=config.steps, tokens=tokens, flops=flops)

    def fit(
        self, context: SafeguardContext, config: RepNoiseConfig
    ) -> Generator[TrainingJob, Trajectory, Fitted]:
        """Ask for one training run on pairs."""
        require_rows(context, *self.roles(config))
        knobs = ("alpha", "beta", "noise_rows", "retain", "benign_rows")
        trajectory = yield TrainingJob(
            rows=tuple(context.safety),
            hyperparameters=Hyperparameters(
                lr=config.lr, steps=config.steps, batch_size=config.safety_rows, optimizer="adam",
                schedule="cosine", warmup_steps=config.steps // 10,
            ),
            seeds=dict(context.seeds),
            objective=Objective(
                name="repnoise",
                settings={knob: getattr(config, knob) for knob in knobs},
                beside=tuple(context.benign) if config.retain else (),
            ),
        )  # fmt: skip
        return Fitted(tampers=(trajectory.last,))


SAFEGUARDS.register(RepNoise.kind, RepNoise())
