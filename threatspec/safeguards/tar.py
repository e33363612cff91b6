"""Safeguard `tar`: trained to be safe still after adversaries have fine-tuned it.

Source: arXiv 2408.00761, tamper-resistant safeguards, first order. It starts from the subject as it
is given, which should be safe untouched already: refusal training, for example, comes before it.
"""

from __future__ import annotations

import random
from collections.abc import Generator
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from threatspec.records import Spend, Stream
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
from threatspec.subjects import SubjectCard
from threatspec.training import (
    Hyperparameters,
    Objective,
    TrainingJob,
    Trajectory,
    forward_flops,
    training_flops,
)

__all__ = ["Tar", "TarConfig"]


class TarConfig(SafeguardConfig):
    """Knobs of the outer loop, of the adversaries in it, and of what resisting means."""

    lr: float = Field(default=6e-5, gt=0, le=1)
    """Learning rate of the outer schedule-free AdamW."""
    steps: int = Field(default=100, ge=1)
    """Outer steps, each with an adversary."""
    warmup_steps: int = Field(default=32, ge=0)
    """Outer steps of linear warm-up; at most `steps` - 1."""
    benign_rows: int = Field(default=32, ge=1)
    """Benign rows per outer step."""
    safety_rows: int = Field(default=32, ge=1)
    """Rows per step of an adversary, and held-out rows that its resistance is read on."""
    inner_steps: int = Field(default=64, ge=0, le=10_000)
    """Steps of each adversary: K."""
    every: int = Field(default=4, ge=1)
    """Resistance is read after every so many steps of an adversary."""
    growth: float = Field(default=0.0625, ge=0, le=10)
    """Later readings weigh more: exp(growth x (step - (K - 1))), not normalised."""
    inner_lrs: tuple[float, ...] = Field(default=(2e-6, 2e-5, 4e-5), min_length=1)
    """Learning rates of AdamW of which each adversary draws one, constant."""
    inner_weight_decay: float = Field(default=0.01, ge=0)
    """Of the adversaries' AdamW."""
    forget: float = Field(default=1.0, ge=0)
    """Share of adversaries that train on harmful rows; shares need not add up to one."""
    retain: float = Field(default=0.0, ge=0)
    """Share of adversaries that train on benign rows only."""
    retain_then_forget: float = Field(default=1.0, ge=0)
    """Share of adversaries that train on benign rows first, for Beta(6, 3) x K steps."""
    held_out: float = Field(default=0.2, gt=0, lt=1)
    """Share of the safety rows that no adversary trains on, on which resistance is read."""
    resist: Literal["refusal", "entropy"] = "refusal"
    """`refusal`: DPO's loss of the refusal over the complying answer; `entropy`: minus the entropy
    of the next token."""
    beta: float = Field(default=0.1, gt=0, le=10)
    """Of DPO's loss, per nat."""
    tamper_weight: float = Field(default=4.0, ge=0)
    """Weight of the resistance: lambda_TR."""
    retain_weight: float = Field(default=1.0, ge=0)
    """Weight of the mean token loss on benign rows."""
    keep_refusals: bool = False
    """Whether refusals of the rows that adversaries train on are kept like benign rows."""
    distance_weight: float = Field(default=1.0, ge=0)
    """Weight of the mean L2 distance of hidden states on benign rows from those at the start."""

    @model_validator(mode="after")
    def _something_is_drawn_and_read(self) -> Self:
        if self.inner_steps and self.every > self.inner_steps:
            text = "every must not exceed inner_steps, or resistance is never read"
            raise ValueError(f"{text}; it is {self.every} and they are {self.inner_steps}")
        if not sum(self.shares):
            raise ValueError("one of forget, retain and retain_then_forget must be above 0")
        if not all(0 < lr <= 1 for lr in self.inner_lrs):
            raise ValueError(f"inner_lrs must be above 0 and at most 1, but are {self.inner_lrs}")
        return self

    @property
    def shares(self) -> tuple[float, float, float]:
        """Of the kinds of adversaries, in the order in which the objective counts them."""
        return (self.forget, self.retain, self.retain_then_forget)


class Tar(Safeguard):
    """Acts before release only."""

    kind = "tar"
    source = "arXiv 2408.00761"
    says = "trains against adversaries that fine-tune a copy, so that refusals outlast fine-tuning"
    stages = frozenset({Stage.RELEASE})
    Config = TarConfig

    def cost(self, subject: SubjectCard, config: TarConfig, rows: int, words: int) -> Spend:
        """Per outer step K + K / every + 1 passes forward and backward, and one forward.

        Every row as long as the longest; log-probabilities at the start are left out: they are
        read once.
        """
        length = row_length(subject, words)
        looks = config.inner_steps // config.every * (2 if config.resist == "refusal" else 1)
        trained = (config.inner_steps + looks) * config.safety_rows + config.benign_rows
        trained, seen = (config.steps * n * length for n in (trained, config.benign_rows))
        flops = training_flops(subject, trained, length) + forward_flops(subject, seen, length)
        return Spend(steps=config.steps, tokens=trained + seen, flops=flops)

    def fit(
        self, context: SafeguardContext, config: TarConfig
    ) -> Generator[TrainingJob, Trajectory, Fitted]:
        """Ask for one training run.

        Raises ThreatspecError TS-SAFEGUARD for missing rows or refusals, or too few to hold out.
        """
        require_rows(context, "safety", "benign")
        chooser = random.Random(context.seeds[Stream.DATA_SUBSET])
        safety = tuple(chooser.sample(context.safety, len(context.safety)))
        held = max(1, round(config.held_out * len(safety)))
        settings = {**_settings(config), "held_out": held, "benign": len(context.benign)}
        kept = safety[:-held] if config.keep_refusals else ()
        trajectory = yield TrainingJob(
            rows=(*context.benign, *(row.refused for row in kept)),
            hyperparameters=_outer(config),
            seeds=dict(context.seeds),
            objective=Objective(name="tar", settings=settings, beside=safety),
        )
        return Fitted(tampers=(trajectory.last,))


def _outer(config: TarConfig) -> Hyperparameters:
    return Hyperparameters(
        lr=config.lr, steps=config.steps, batch_size=config.benign_rows,
        optimizer="schedule-free-adamw", warmup_steps=min(config.warmup_steps, config.steps - 1),
    )  # fmt: skip


def _settings(config: TarConfig) -> dict[str, Any]:
    """Of the objective, whatever the rows are."""
    same = (
        "inner_steps", "every", "growth", "inner_lrs", "inner_weight_decay", "resist", "beta",
        "tamper_weight", "retain_weight", "distance_weight", "shares",
    )  # fmt: skip
    return {**{name: getattr(config, name) for name in same}, "inner_rows": config.safety_rows}


SAFEGUARDS.register(Tar.kind, Tar())
