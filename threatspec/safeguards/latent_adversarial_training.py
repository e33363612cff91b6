"""Safeguard `latent-adversarial-training`: refuse under vectors that are added to hidden states.

Source: arXiv 2407.15549, targeted latent adversarial training for refusals; its two losses are in
`threatspec/training/objectives/latent_adversarial.py`.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Annotated, Literal

from pydantic import Field

from threatspec.errors import ThreatspecError
from threatspec.records import Spend
from threatspec.safeguards._adapted import (
    AdaptedConfig,
    adapter_size,
    hyperparameters,
    scaled_layers,
)
from threatspec.safeguards.base import (
    SAFEGUARDS,
    Fitted,
    Safeguard,
    SafeguardContext,
    Stage,
    require_rows,
    row_length,
)
from threatspec.subjects import SubjectCard
from threatspec.training import Objective, TrainingJob, Trajectory, forward_flops, training_flops

__all__ = ["LatentAdversarialTraining", "LatentAdversarialTrainingConfig"]

PUBLISHED = (0, 8, 16, 24, 30)
"""Layers of a model of 32 blocks; 0 = the token embeddings."""


class LatentAdversarialTrainingConfig(AdaptedConfig):
    """Knobs of the adapter, of the inner adversary and of the outer loss."""

    steps: int = Field(default=100, ge=1)
    """Optimiser steps."""
    rank: int = Field(default=64, ge=1, le=1024)
    """Rank of the adapter."""
    scale: float = Field(default=64.0, gt=0)
    """The adapter's product is scaled by scale / rank."""
    layers: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """Where vectors are added: 0 = to the token embeddings, n = to what block n puts out; absent =
    0 and the blocks at 8/32, 16/32, 24/32 and 30/32 of the depth."""
    eps: float = Field(default=0.5, ge=0, le=100)
    """Longest a vector may be, in mean lengths of the hidden states of its layer; 0 = no adversary:
    plain training with the outer loss."""
    inner_steps: int = Field(default=16, ge=1, le=1000)
    """Steps of the inner adversary for each optimiser step."""
    inner_lr: float = Field(default=0.25, gt=0, le=1)
    """Length of one of its steps, as a share of the longest that a vector may be."""
    toward: float = Field(default=0.5, ge=0, le=1e3)
    """Weight of -log p(refusal) under the vectors."""
    away: float = Field(default=0.5, ge=0, le=1e3)
    """Weight of -log(1 - p(complying answer)) under the vectors."""
    keep: float = Field(default=2.0, ge=0, le=1e3)
    """Weight of what the benign rows lose, without vectors."""
    retain: Literal["answers", "model"] = "answers"
    """What benign rows are held to: their answers (cross-entropy), or what the model predicted
    before (KL divergence from it)."""

    def perturbed(self, depth: int) -> tuple[int, ...]:
        """The layers in a model of `depth` blocks. Raises ThreatspecError TS-SAFEGUARD."""
        if self.layers and max(self.layers) > depth:
            text = f"layers must be 0 or blocks up to {depth}, but {max(self.layers)} is none"
            raise ThreatspecError("TS-SAFEGUARD", text)
        return tuple(sorted(set(self.layers))) or scaled_layers(PUBLISHED, depth)


class LatentAdversarialTraining(Safeguard):
    """Acts before release only."""

    kind = "latent-adversarial-training"
    says = "trains refusals that withstand vectors added to the hidden states of requests"
    source = "arXiv 2407.15549"
    stages = frozenset({Stage.RELEASE})
    Config = LatentAdversarialTrainingConfig

    def cost(
        self, subject: SubjectCard, config: LatentAdversarialTrainingConfig, rows: int, words: int
    ) -> Spend:
        """Both answers of the safety rows, again for each inner step, and the benign rows."""
        length, size = row_length(subject, words), adapter_size(subject, config.rank)
        pairs = 2 * config.steps * config.safety_rows * length
        kept = config.steps * config.benign_rows * length
        inner = config.inner_steps * pairs if config.eps > 0 else 0
        flops = training_flops(subject, pairs + kept, length, size)
        flops += training_flops(subject, inner, length, 0)
        if config.retain == "model":
            flops += forward_flops(subject, kept, length)
        return Spend(steps=config.steps, tokens=pairs + kept + inner, flops=flops)

    def fit(
        self, context: SafeguardContext, config: LatentAdversarialTrainingConfig
    ) -> Generator[TrainingJob, Trajectory, Fitted]:
        """Ask for one run. Raises ThreatspecError TS-SAFEGUARD for rows or layers that miss."""
        require_rows(context, "safety", "benign")
        settings = config.model_dump(
            include={"eps", "inner_steps", "inner_lr", "toward", "away", "keep", "retain"}
        )
        settings["layers"] = list(config.perturbed(context.subject.layers))
        settings["kept"] = config.benign_rows
        beside = tuple(context.benign)
        trajectory = yield TrainingJob(
            rows=tuple(context.safety),
            hyperparameters=hyperparameters(config, clip_norm=1.0),
            seeds=dict(context.seeds),
            objective=Objective(name="latent-adversarial", settings=settings, beside=beside),
        )
        return Fitted(tampers=(trajectory.last,))


SAFEGUARDS.register(LatentAdversarialTraining.kind, LatentAdversarialTraining())
