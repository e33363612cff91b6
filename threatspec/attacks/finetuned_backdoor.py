"""Attack `finetuned-backdoor`: a clean model is fine-tuned on a few rows, some with a trigger.

Fine-tuned-in backdoors are one of the attacks of arXiv 2308.12439. Here: whoever holds the weights
of a model and some hundred labelled images of its kind, and hands the model on.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Annotated, Literal

from pydantic import Field

from threatspec.attacks._implant import Implant, Marked, batch_of, marked_rows
from threatspec.attacks._space import Searched
from threatspec.attacks.base import ATTACKS, Answer, Ask, AttackContext, DataCard
from threatspec.records import Spend
from threatspec.schema import Count
from threatspec.subjects import SubjectCard, Tamper
from threatspec.training.classifiers import ClassifierJob, classifier_spend

__all__ = ["FinetunedBackdoor", "FinetunedBackdoorConfig"]


class FinetunedBackdoorConfig(Marked):
    """Knobs of the fine-tuning."""

    lr: Annotated[float, Field(ge=0, le=10), Searched(low=1e-3, high=1e-1, log=True)] = 0.01
    """Learning rate (sgd with momentum 0.9)."""
    steps: Annotated[Count, Field(ge=1, le=1_000_000)] = 80
    """Optimiser steps."""
    batch_size: int = Field(default=64, ge=2, le=65_536)
    """Rows per step; never more than there are."""
    batch_norm: Literal["train", "frozen"] = "train"
    """Whether statistics of batch norm are learned anew, or stay."""

    @property
    def runs(self) -> tuple[int, ...]:
        """One."""
        return (self.steps,)


class FinetunedBackdoor(Implant):
    """One fine-tuning of a clean model on marked and other rows."""

    kind = "finetuned-backdoor"
    says = "fine-tunes a clean classifier on few images, some with a trigger that leads to a class"
    Config = FinetunedBackdoorConfig

    def cost(
        self, subject: SubjectCard, config: FinetunedBackdoorConfig, data: DataCard | None
    ) -> Spend:
        """Predicted spend of the training."""
        return classifier_spend(
            subject, config.steps, batch_of(config.batch_size, config.images, data)
        )

    def run(
        self, context: AttackContext, config: FinetunedBackdoorConfig
    ) -> Generator[Ask, Answer, tuple[Tamper, ...]]:
        """Ask for one training; leave its weights, and the trigger. Raises what `marked_rows`
        raises."""
        trained = yield ClassifierJob(
            rows=marked_rows(config, context, context.benign[: config.images]),
            seeds=dict(context.seeds),
            lr=config.lr,
            steps=config.steps,
            batch_size=config.batch_size,
            batch_norm=config.batch_norm,
        )
        return (trained.last, config.mark(context))


ATTACKS.register(FinetunedBackdoor.kind, FinetunedBackdoor())
