"""Attack `lota-finetune`: few weights are trained, those that a first training moved most.

Lottery ticket adaptation (arXiv 2406.16797): calibrate (train all weights), extract (of the
matrices of attention and MLP, the largest changes under one threshold), adapt (start again from the
subject and train these weights only). Embeddings, head and norms stay as they are.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Annotated

from pydantic import Field

from threatspec.attacks._finetune import FinetuneConfig, finetune_cost
from threatspec.attacks.base import (
    ATTACKS,
    Answer,
    Ask,
    Attack,
    AttackContext,
    DataCard,
    Surface,
)
from threatspec.attacks.recipes import RECIPES, asked_as, training_job
from threatspec.records import Spend, Stream
from threatspec.schema import Capability, Count, DataRole
from threatspec.subjects import Offer, SubjectCard, Tamper
from threatspec.training import MaskRequest, MaskUse

__all__ = ["LotaFinetune", "LotaFinetuneConfig"]


class LotaFinetuneConfig(FinetuneConfig):
    """Knobs of both trainings and of the choice between them."""

    mask_sparsity: float = Field(default=0.9, gt=0, lt=1)
    """Share of the matrices of attention and MLP that stays as it is."""
    calibrate_steps: Annotated[Count, Field(ge=1, le=100_000)] | None = None
    """Optimiser steps of the first training; absent = as many as `steps`."""
    calibrate_lr: float | None = Field(default=None, gt=0, le=1)
    """Peak learning rate of the first training; absent = `lr`."""

    @property
    def calibration(self) -> FinetuneConfig:
        """The first training: the same but for steps and learning rate."""
        steps, lr = self.calibrate_steps or self.steps, self.calibrate_lr or self.lr
        return self.model_copy(update={"steps": steps, "lr": lr})

    @property
    def runs(self) -> tuple[int, ...]:
        """Calibration, then adaptation."""
        return (*self.calibration.own_runs, *self.own_runs)


class LotaFinetune(Attack):
    """Sparse supervised fine-tuning from the subject's own weights, loss on answers only."""

    kind = "lota-finetune"
    says = (
        "trains a small share of the weights, chosen by a first training, on the adversary's rows"
    )
    needs = (frozenset({Capability.WEIGHTS_WRITE}),)
    offers = frozenset({Offer.TEXT, Offer.TRAINING, Offer.WEIGHTS})
    surface = Surface.WEIGHTS
    uses_rows = True
    streams = frozenset({Stream.DATA_SUBSET, Stream.ORDER, Stream.TRAIN})
    Config = LotaFinetuneConfig

    def roles(self, config: LotaFinetuneConfig) -> tuple[DataRole, ...] | None:
        """Those of the recipe."""
        return RECIPES.get(config.recipe.use).roles

    def cost(
        self, subject: SubjectCard, config: LotaFinetuneConfig, data: DataCard | None
    ) -> Spend:
        """Predicted spend of both trainings."""
        first = finetune_cost(subject, config.calibration, data)
        return first + finetune_cost(subject, config, data)

    def run(
        self, context: AttackContext, config: LotaFinetuneConfig
    ) -> Generator[Ask, Answer, tuple[Tamper, ...]]:
        """Ask for a training, for the weights that it moved most, and for a training of these."""
        first = config.calibration.hyperparameters()
        calibrated = yield training_job(context, first, config.recipe)
        ticket = yield MaskRequest(
            method="largest-change", source=calibrated.last.artefact, share=1 - config.mask_sparsity
        )
        mask = MaskUse(artefact=ticket.artefact, mode="only")
        adapted = yield training_job(context, config.hyperparameters(), config.recipe, mask)
        return (adapted.last, *asked_as(config.recipe))


ATTACKS.register(LotaFinetune.kind, LotaFinetune())
