"""What fine-tuning attacks share: the knobs of an optimisation, its cost, and the one request."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from threatspec.attacks._space import Searched
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
from threatspec.schema import Access, Capability, Count, DataRole, Owns
from threatspec.subjects import Offer, SubjectCard, Tamper
from threatspec.training import Adapter, Hyperparameters, steps_per_epoch, training_flops

__all__ = ["Finetune", "FinetuneConfig", "ask_for_training", "finetune_cost"]

Rate = Annotated[float, Field(ge=0, lt=1)]


class FinetuneConfig(AttackConfig):
    """Knobs of an optimisation."""

    lr: Annotated[float, Field(ge=0, le=10), Searched(low=1e-6, high=1e-2, log=True)]
    """Peak learning rate; 0 is legal and moves nothing."""
    steps: Annotated[
        Annotated[Count, Field(ge=1, le=100_000)] | None, Searched(low=10, high=1000, log=True)
    ] = None
    """Optimiser steps; absent = as many as `epochs` take."""
    epochs: Annotated[Count, Field(ge=1, le=10_000)] | None = None
    """Times that all rows come, in place of `steps`; rows that do not fill a batch take a step."""
    batch_size: Annotated[int, Field(ge=1, le=1024), Searched(choices=(8, 16, 32, 64))] = 10
    """Rows per step; never more than there are rows."""
    micro_batch: int | None = Field(default=None, ge=1, le=1024)
    """Rows that go through the model at once; gradients add up to those of the batch. Absent = the
    batch."""
    optimizer: Literal[
        "adamw", "adam", "sgd", "rmsprop", "adagrad", "adadelta", "schedule-free-adamw"
    ] = "adamw"
    """Update rule. Weight decay is decoupled in adamw and schedule-free-adamw, else L2."""
    betas: tuple[Rate, ...] = Field(default=(0.9, 0.999), min_length=2, max_length=2)
    """Of adamw, adam and schedule-free-adamw: how fast both averages forget."""
    eps: float = Field(default=1e-8, gt=0, le=1)
    """What is added to denominators of the update rule."""
    momentum: Rate = 0.0
    """Of sgd and rmsprop."""
    nesterov: bool = False
    """Of sgd with momentum: Nesterov's."""
    schedule: Annotated[
        Literal["constant", "linear", "cosine", "cosine-restarts", "step-per-epoch"],
        Searched(choices=("constant", "linear", "cosine")),
    ] = "constant"
    """Learning rate after the warm-up."""
    warmup_steps: Annotated[
        Annotated[Count, Field(ge=0, le=100_000)], Searched(choices=(0, 10, 30, 100))
    ] = 0
    """Optimiser steps of linear warm-up from 0."""
    min_lr: float = Field(default=0.0, ge=0, le=10)
    """Where linear and cosine schedules end."""
    cycle_steps: Annotated[Count, Field(ge=1, le=100_000)] | None = None
    """Of cosine-restarts: optimiser steps of a cycle; absent = one cycle."""
    decay: float = Field(default=0.85, gt=0, le=1)
    """Of step-per-epoch: factor of the learning rate after every epoch."""
    weight_decay: float = Field(default=0.0, ge=0, le=1)
    """Weight decay, decoupled or L2 as the update rule has it."""
    clip_norm: float | None = Field(default=None, gt=0)
    """The gradient norm is clipped to this; absent = not clipped."""
    clip: Literal["global", "tensor"] = "global"
    """Whether the norm that is clipped is that of all gradients or of each tensor's."""
    model_dropout: float | None = Field(default=None, ge=0, lt=1)
    """Dropout of the model's own layers; absent = as its configuration says."""
    loss_on: Literal["answer", "all", "padded"] = "answer"
    """What carries loss: `all`: prompt and template too; `padded`: also padding to `max_length`."""
    max_length: int | None = Field(default=None, ge=8)
    """Rows are cut to so many tokens; absent = a row that does not fit is an error."""
    packing: bool = False
    """Several rows share one sequence, without attention between them."""
    drop_last: bool = False
    """An epoch ends before rows that do not fill a batch."""
    shuffle: bool = True
    """New row order in every epoch, from the seed stream `order`."""
    recipe: RecipeChoice = PLAIN
    """How the adversary's rows become training rows: a name, or {use: NAME, ...}."""

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        broken = next((text for text, holds in self._rules() if not holds), None)
        if broken:
            raise ValueError(broken)
        return self

    def _rules(self) -> tuple[tuple[str, bool], ...]:
        """Rules between knobs, and whether they hold."""
        moved = self.optimizer in {"sgd", "rmsprop"}
        return (
            ("steps or epochs must be given, and not both", (self.steps is None)
             != (self.epochs is None)),
            ("min_lr must be at most lr", self.min_lr <= self.lr),
            ("momentum must go with sgd or rmsprop", moved or not self.momentum),
            ("nesterov must go with sgd and momentum",
             not self.nesterov or (self.optimizer == "sgd" and self.momentum > 0)),
            ("cycle_steps must go with the schedule cosine-restarts",
             self.cycle_steps is None or self.schedule == "cosine-restarts"),
            ("padding must have a max_length to carry loss up to",
             self.loss_on != "padded" or self.max_length is not None),
            ("packing must go without loss on padding",
             not self.packing or self.loss_on != "padded"),
        )  # fmt: skip

    def settled(self, rows: int) -> Self:
        """The same with `steps` in place of `epochs`, of so many rows of the adversary."""
        if self.epochs is None:
            return self
        each = steps_per_epoch(
            rows_out(self.recipe, rows), self.batch_size, drop_last=self.drop_last
        )
        return self.model_copy(update={"steps": self.epochs * each, "epochs": None})

    def owning(self, owns: Owns) -> Self:
        """The recipe may need it."""
        return self.model_copy(update={"recipe": self.recipe.owning(owns)})

    @property
    def leaked(self) -> bool:
        """Whether the recipe is told a secret."""
        return self.recipe.leaked

    @property
    def needs(self) -> Access:
        """What asking by the recipe takes."""
        return RECIPES.get(self.recipe.use).asks(self.recipe)

    @property
    def runs(self) -> tuple[int, ...]:
        """One training run."""
        return self.own_runs

    @property
    def own_runs(self) -> tuple[int, ...]:
        """The run that these knobs fix; none before epochs are settled."""
        return () if self.steps is None else (self.steps,)

    def hyperparameters(self, adapter: Adapter | None = None) -> Hyperparameters:
        """What the trainer is asked for. Raises ValueError before epochs are settled."""
        if self.steps is None:
            raise ValueError("epochs must be settled into steps before a training is asked for")
        own = set(FinetuneConfig.model_fields) - {"recipe", "epochs", "model_dropout"}
        knobs = self.model_dump(include=own)
        return Hyperparameters(**knobs, dropout=self.model_dropout, adapter=adapter)


class Finetune(Attack):
    """What every fine-tuning attack needs of the adversary and of the subject."""

    needs: ClassVar[tuple[Access, ...]] = (
        frozenset({Capability.WEIGHTS_WRITE}),
        frozenset({Capability.FINETUNE_DATA, Capability.FINETUNE_HYPERPARAMETERS}),
    )
    offers = frozenset({Offer.TEXT, Offer.TRAINING, Offer.WEIGHTS})
    surface = Surface.WEIGHTS
    uses_rows = True

    def reads(self, config: Any, folder: Path) -> dict[str, str]:
        """Nothing. Raises ThreatspecError TS-ACCESS for what the recipe needs and is not owned."""
        config.recipe.check_owned()
        return {}

    def roles(self, config: Any) -> tuple[DataRole, ...] | None:
        """Those of the recipe."""
        return RECIPES.get(config.recipe.use).roles


def finetune_cost(
    subject: SubjectCard, config: FinetuneConfig, data: DataCard | None, adapter: int | None = None
) -> Spend:
    """Predicted spend of one run: every row as long as the longest."""
    rows, words = (data.rows, data.words) if data else (1, 1)
    config = config.settled(rows)
    rows, words = rows_out(config.recipe, rows), words + words_added(config.recipe)
    length = min(subject.context, round(words * subject.tokens_per_word) + subject.template_tokens)
    if config.max_length is not None:
        padded = config.loss_on == "padded"
        length = config.max_length if padded else min(length, config.max_length)
    steps = sum(config.own_runs)
    tokens = steps * min(config.batch_size, rows) * length
    flops = training_flops(subject, tokens, length, adapter)
    return Spend(steps=steps, tokens=tokens, flops=flops)


def ask_for_training(
    context: AttackContext, hyperparameters: Hyperparameters, recipe: RecipeConfig = PLAIN
) -> Generator[Ask, Answer, tuple[Tamper, ...]]:
    """Ask for one training run by a recipe; the tampers are its last checkpoint, and how requests
    are asked afterwards."""
    trajectory = yield training_job(context, hyperparameters, recipe)
    return (trajectory.last, *asked_as(recipe))
