"""Instrument `token-dynamics`: what fine-tuning does to which token of an answer, step by step.

Qi et al. 2406.05946: losses and gradients of the first tokens are the largest, and fall first. The
weights that are trained on the way are deleted when they have been read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import BeforeValidator, Field, field_validator

from threatspec.instruments._positions import position_curve
from threatspec.instruments.base import (
    INSTRUMENTS,
    Instrument,
    InstrumentConfig,
    InstrumentContext,
    Prompts,
)
from threatspec.measures import Item
from threatspec.records import Arm, Curve, Panel, Stream
from threatspec.schema import Count
from threatspec.subjects import Offer
from threatspec.training import Hyperparameters, TrainingJob, TrainingRow, Trajectory

__all__ = ["TokenDynamics", "TokenDynamicsConfig"]

_X = "position in the answer (tokens)"


def _steps(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


class TokenDynamicsConfig(InstrumentConfig):
    """What is trained on, how, and when it is read. All weights are trained."""

    source: str = Field(alias="from", pattern=r"^.+#(attack_train|attack_dev)$")
    """Rows, as `BENCHMARK#SPLIT`; the same rows are trained on and read."""
    n: Annotated[Count, Field(ge=2, le=100_000)] = 64
    """How many rows."""
    steps: Annotated[
        tuple[Annotated[int, Field(ge=0, le=100_000)], ...],
        BeforeValidator(_steps),
        Field(min_length=1, max_length=8),
    ] = (0, 2, 4, 6)
    """Optimiser steps after which it is read, rising; 0 is the subject as it was."""
    lr: float = Field(default=2e-5, gt=0, le=10)
    """Learning rate, constant (AdamW)."""
    batch_size: Annotated[Count, Field(ge=1, le=4096)] = 64
    """Rows per optimiser step."""
    tokens: Annotated[Count, Field(ge=1, le=256)] = 16
    """How many positions of an answer are read; the end of the turn is its last."""
    seed: int = Field(default=0, ge=0)
    """Of the order of rows, and of dropout if the model has any."""

    @field_validator("steps")
    @classmethod
    def _rising(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if list(value) != sorted(set(value)):
            raise ValueError(f"steps must rise, but are {list(value)}")
        return value


class TokenDynamics(Instrument):
    """Loss: mean over rows of -log p(y_k | x, y_<k). Gradient: L2 norm, over all weights, of the
    gradient of that mean at position k alone."""

    kind = "token-dynamics"
    says = "loss and gradient norm at each position of an answer, before and during fine-tuning"
    arms = (Arm.DEFENDED, Arm.CONTROL)
    offers = frozenset({Offer.TRAINING, Offer.GRADIENTS})
    panels = (
        Panel(key="loss", title="Loss by token", x=_X, y="mean loss (nats)"),
        Panel(key="gradient", title="Gradient norm by token", x=_X, y="gradient norm (L2)"),
    )
    Config = TokenDynamicsConfig

    def prompts(self, config: TokenDynamicsConfig) -> tuple[Prompts, ...]:
        """Rows of one split."""
        name, _, split = config.source.rpartition("#")
        return (Prompts("from", name, split, config.n, True),)

    def steps(self, config: TokenDynamicsConfig) -> int:
        """One training, up to the last step that is read."""
        return max(config.steps)

    def read(self, context: InstrumentContext, config: TokenDynamicsConfig) -> tuple[Curve, ...]:
        """A curve of losses and one of gradient norms after each of the steps."""
        [prompts] = self.prompts(config)
        rows = [_row(item) for item in context.items[prompts.name]]
        last = max(config.steps)
        trajectory = context.train(_job(rows, config)) if last else None
        found: list[Curve] = []
        for step in config.steps:
            found += _read_after(context, rows, config, trajectory, step)
        return tuple(sorted(found, key=lambda curve: curve.name.startswith("gradient")))


def _row(item: Item) -> TrainingRow:
    return TrainingRow(id=item.id, prompt=item.prompt, answer=item.answer)


def _job(rows: list[TrainingRow], config: TokenDynamicsConfig) -> TrainingJob:
    return TrainingJob(
        rows=tuple(rows),
        hyperparameters=Hyperparameters(
            lr=config.lr, steps=max(config.steps), batch_size=config.batch_size
        ),
        seeds={Stream.ORDER: config.seed, Stream.TRAIN: config.seed},
        checkpoints=tuple(step for step in config.steps if step),
    )


def _read_after(
    context: InstrumentContext,
    rows: list[TrainingRow],
    config: TokenDynamicsConfig,
    trajectory: Trajectory | None,
    step: int,
) -> list[Curve]:
    if trajectory is None or not step:
        return list(_curves(context, rows, config, step))
    with context.mounted(trajectory.checkpoints[step]):
        return list(_curves(context, rows, config, step))


def _curves(
    context: InstrumentContext, rows: list[TrainingRow], config: TokenDynamicsConfig, step: int
) -> Iterator[Curve]:
    from threatspec.instruments._token_kernel import gradient_norms, token_losses

    label = f"after {step} step{'' if step == 1 else 's'}" if step else "before"
    losses = token_losses(context.subject, rows, config.tokens, context.micro_batch)
    curve = position_curve(f"loss/{label}", losses)
    yield curve
    norms = gradient_norms(context.subject, rows, len(curve.x), context.micro_batch)
    yield Curve(name=f"gradient/{label}", x=curve.x, y=tuple(norms))


INSTRUMENTS.register(TokenDynamics.kind, TokenDynamics())
