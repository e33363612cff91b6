"""What safeguards that train a low-rank adapter share: its knobs, and how large it is.

An adapter leaves the weights that it is beside as they were, so what a loss compares with is there
all the time: the model with the adapter switched off. What is released is the sum of both.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from threatspec.safeguards.base import SafeguardConfig
from threatspec.subjects import SubjectCard
from threatspec.training import Adapter, Hyperparameters

__all__ = ["AdaptedConfig", "adapter_size", "hyperparameters", "scaled_layers"]


class AdaptedConfig(SafeguardConfig):
    """Knobs of the optimisation of an adapter."""

    lr: float = Field(default=1e-4, gt=0, le=1)
    """Learning rate of AdamW, constant."""
    steps: int = Field(default=150, ge=1)
    """Optimiser steps."""
    safety_rows: int = Field(default=16, ge=1)
    """Safety rows per step."""
    benign_rows: int = Field(default=16, ge=1)
    """Rows per step on which the model is to stay as it is."""
    rank: int = Field(default=16, ge=1, le=1024)
    """Rank of the adapter."""
    scale: float = Field(default=16.0, gt=0)
    """The adapter's product is scaled by scale / rank."""


def hyperparameters(config: AdaptedConfig, clip_norm: float | None = None) -> Hyperparameters:
    """Of one run on an adapter beside every linear layer of the blocks."""
    options: dict[str, Any] = {"r": config.rank, "lora_alpha": config.scale}
    return Hyperparameters(
        lr=config.lr,
        steps=config.steps,
        batch_size=config.safety_rows,
        clip_norm=clip_norm,
        adapter=Adapter(method="lora", options=options),
    )


def adapter_size(subject: SubjectCard, rank: int) -> int:
    """About how many parameters it has: seven linear layers per block, of about the hidden size."""
    return round(subject.layers * 7 * 2.5 * subject.hidden * rank)


def scaled_layers(published: tuple[int, ...], depth: int) -> tuple[int, ...]:
    """Layers of a model of 32 blocks as they lie in one of `depth` blocks."""
    return tuple(sorted({min(depth, round(layer * depth / 32)) for layer in published}))
