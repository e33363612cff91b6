"""What fine-tuning attacks share: the knobs of an optimisation, its cost, and the one request."""

from __future__ import annotations

from collections.abc import Generator
from typing import Annotated, Any, Literal

from pydantic import Field

from threatspec.attacks.base import (
    Answer,
    Ask,
    Attack,
    AttackConfig,
    AttackContext,
    DataCard,
    Surface,
)
from threatspec.attacks.recipes import (
    PLAIN,
    RECIPES,
    RecipeChoice,
    RecipeConfig,
    asked_as,
    rows_out,
    training_job,
    words_added,
)
from threatspec.records import Spend
from threatspec.schema import Access, Capability, Count, DataRole
from threatspec.subjects import Offer, SubjectCard, Tamper
from threatspec.training import Adapter, Hyperparameters, training_flops

__all__ = ["Finetune", "FinetuneConfig", "ask_for_training", "finetune_cost"]


class FinetuneConfig(AttackConfig):
    """Knobs of an optimisation with AdamW."""

    lr: float = Field(ge=0, le=1)
    """Peak learning rate; 0 is legal and moves nothing."""
    steps: Annotated[Count, Field(ge=1, le=100_000)]
    """Optimiser steps."""
    batch_size: int = Field(default=10, ge=1, le=1024)
    """Rows per step; never more than there are rows."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """Learning rate after the warm-up."""
    warmup_steps: Annotated[Count, Field(ge=0, le=100_000)] = 0
    """Steps of linear warm-up from 0."""
    weight_decay: float = Field(default=0.0, ge=0, le=1)
    """Decoupled weight decay."""
    clip_norm: float | None = Field(default=None, gt=0)
    """Global gradient norm is clipped to this; absent = not clipped."""
    shuffle: bool = True
    """New row order in every epoch, from the seed stream `order`."""
    recipe: RecipeChoice = PLAIN
    """How the adversary's rows become training rows: a name, or {use: NAME, ...}."""

    @property
    def needs(self) -> Access:
        """What asking by the recipe takes."""
        return RECIPES.get(self.recipe.use).asks(self.recipe)

    @property
    def runs(self) -> tuple[int, ...]:
        """One training run."""
        return (self.steps,)

    def hyperparameters(self, adapter: Adapter | None = None) -> Hyperparameters:
        """What the trainer is asked for."""
        own = set(FinetuneConfig.model_fields) - {"recipe"}
        return Hyperparameters(**self.model_dump(include=own), adapter=adapter)


class Finetune(Attack):
    """What every fine-tuning attack needs of the adversary and of the subject."""

    needs = (
        frozenset({Capability.WEIGHTS_WRITE}),
        frozenset({Capability.FINETUNE_DATA, Capability.FINETUNE_HYPERPARAMETERS}),
    )
    offers = frozenset({Offer.TEXT, Offer.TRAINING})
    surface = Surface.WEIGHTS
    uses_rows = True

    def roles(self, config: Any) -> tuple[DataRole, ...] | None:
        """Those of the recipe."""
        return RECIPES.get(config.recipe.use).roles


def finetune_cost(
    subject: SubjectCard, config: FinetuneConfig, data: DataCard | None, adapter: int | None = None
) -> Spend:
    """Predicted spend of one run: every row as long as the longest."""
    rows, words = (data.rows, data.words) if data else (1, 1)
    rows, words = rows_out(config.recipe, rows), words + words_added(config.recipe)
    length = min(subject.context, round(words * subject.tokens_per_word) + subject.template_tokens)
    tokens = config.steps * min(config.batch_size, rows) * length
    flops = training_flops(subject, tokens, length, adapter)
    return Spend(steps=config.steps, tokens=tokens, flops=flops)


def ask_for_training(
    context: AttackContext, hyperparameters: Hyperparameters, recipe: RecipeConfig = PLAIN
) -> Generator[Ask, Answer, tuple[Tamper, ...]]:
    """Ask for one training run by a recipe; the tampers are its last checkpoint, and how requests
    are asked afterwards."""
    trajectory = yield training_job(context, hyperparameters, recipe)
    return (trajectory.last, *asked_as(recipe))
