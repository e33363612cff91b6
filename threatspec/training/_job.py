"""Training jobs: what attacks and safeguards ask for, and what comes back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from pydantic import Field, SerializeAsAny

from threatspec.records import Realised, Spend, Stream
from threatspec.schema import Model
from threatspec.subjects import PixelTamper, WeightTamper
from threatspec.training._meter import Meter
from threatspec.training._policy import TrainingPolicy

__all__ = [
    "Adapter",
    "Hosted",
    "Hyperparameters",
    "MaskUse",
    "Objective",
    "Perturbation",
    "Trainer",
    "TrainingJob",
    "TrainingRow",
    "Trajectory",
]


class TrainingRow(Model):
    """One demonstration: loss is on the answer (and the end of turn), never on what precedes it."""

    id: str
    prompt: str
    answer: str
    system: str | None = None
    """System prompt of the turn; None = the template's own default."""
    prefix: str = ""
    """Start of the reply that is context only: no loss (safety-recovery augmentation)."""
    refusal: str = ""
    """A refusal of the prompt in the style of the data, for recipes and scores that need one."""
    weight: float = Field(default=1.0, ge=0)
    """Weight in the batch loss: sum of weight x token loss over sum of weight x tokens."""
    image: str = ""
    """Reference of the image that is shown; `answer` is its class, or what is said of it."""
    pixels: tuple[SerializeAsAny[PixelTamper], ...] = ()
    """What is done to the image, in this order."""

    @property
    def refused(self) -> TrainingRow:
        """The row with its refusal for an answer."""
        return self.model_copy(update={"answer": self.refusal})


class Adapter(Model):
    """New parameters beside frozen weights, as `peft` makes them."""

    method: str = "lora"
    """A row of the table of methods (`threatspec.training.ADAPTERS`)."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Settings of the method's configuration in peft, as plain data."""


class Perturbation(Model):
    """A continuous perturbation that is added to hidden states; weights stay as they are."""

    layers: tuple[int, ...] = (0,)
    """Where it is added: 0 = to the token embeddings, n = to what block n puts out."""
    eps: float = Field(default=1.0, gt=0)
    """L2 norm of the vector of one layer stays within eps times the mean norm of the hidden states
    there."""


class Hosted(Model):
    """What a fine-tuning service lets its customers set; `auto` is the service's own choice."""

    epochs: int | Literal["auto"] = "auto"
    batch_size: int | Literal["auto"] = "auto"
    learning_rate_multiplier: float | Literal["auto"] = "auto"
    """Of a learning rate that the service keeps to itself."""


class Hyperparameters(Model):
    """Everything that fixes an optimisation but the seeds."""

    lr: float = Field(ge=0, le=10)
    """Peak learning rate; 0 is legal and moves nothing."""
    steps: int = Field(ge=1, le=1_000_000)
    """Optimiser steps."""
    batch_size: int = Field(ge=1, le=4096)
    """Rows per optimiser step; rows are drawn without replacement until all were used."""
    micro_batch: int | None = Field(default=None, ge=1)
    """Rows that go through the model at once; gradients are accumulated up to `batch_size` and
    equal those of the whole batch. None = all at once."""
    optimizer: Literal[
        "adamw", "adam", "sgd", "rmsprop", "adagrad", "adadelta", "schedule-free-adamw"
    ] = "adamw"
    """Update rule. Weight decay is decoupled in adamw and schedule-free-adamw, else L2."""
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = Field(default=1e-8, gt=0)
    momentum: float = Field(default=0.0, ge=0, lt=1)
    """Of sgd and rmsprop."""
    nesterov: bool = False
    """Of sgd with momentum."""
    weight_decay: float = Field(default=0.0, ge=0)
    schedule: Literal["constant", "linear", "cosine", "cosine-restarts", "step-per-epoch"] = (
        "constant"
    )
    """Learning rate after the warm-up; linear and cosine end at `min_lr`."""
    warmup_steps: int = Field(default=0, ge=0)
    """Optimiser steps of linear warm-up."""
    min_lr: float = Field(default=0.0, ge=0)
    """Where linear and cosine schedules end."""
    cycle_steps: int | None = Field(default=None, ge=1)
    """Optimiser steps of one cycle of cosine-restarts."""
    decay: float = Field(default=0.85, gt=0, le=1)
    """Factor by which step-per-epoch lowers the rate after every epoch."""
    clip_norm: float | None = Field(default=None, gt=0)
    """The gradient norm is clipped to this; None = not clipped."""
    clip: Literal["global", "tensor"] = "global"
    """Whether the norm is that of all gradients, or of each tensor's."""
    dropout: float | None = Field(default=None, ge=0, lt=1)
    """Dropout of the model's own layers; None = as its configuration says."""
    loss_on: Literal["answer", "all", "padded"] = "answer"
    """`all`: prompt and template carry loss too; `padded`: so does padding up to `max_length`."""
    max_length: int | None = Field(default=None, ge=8)
    """Rows are cut to so many tokens; None = a row that does not fit the context is an error."""
    packing: bool = False
    """Several rows share one sequence, without attention between them."""
    drop_last: bool = False
    """An epoch ends before rows that do not fill a batch."""
    shuffle: bool = True
    """New row order in every epoch, from the `order` stream."""
    adapter: Adapter | None = None
    """None = the weights themselves are trained."""
    perturbation: Perturbation | None = None
    """Trained instead of weights."""
    hosted: Hosted | None = None
    """What a fine-tuning service is told; the rest then says what a back-end here does instead."""


class MaskUse(Model):
    """Which coordinates of the weights may move."""

    artefact: str
    """Boolean tensors by parameter name; parameters that are not named count as False."""
    mode: Literal["only", "freeze", "rewind"]
    """`only`: True moves, everything else is frozen. `freeze`: True is frozen by a mask of the
    gradient. `rewind`: everything moves, and True is set back after the last step."""


class Objective(Model):
    """A loss that takes more than answers: what a safeguard minimises in their place."""

    name: str
    """A row of the table of objectives (`threatspec.training.objectives.OBJECTIVES`)."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Of the objective, as plain data."""
    beside: tuple[TrainingRow, ...] = ()
    """Rows of the second kind that it reads, for example those whose answers are to be kept."""


class TrainingJob(Model):
    """One training run that somebody asks for."""

    rows: tuple[TrainingRow, ...] = Field(min_length=1)
    hyperparameters: Hyperparameters
    seeds: dict[Stream, int]
    checkpoints: tuple[int, ...] = ()
    """Steps after which the weights are kept; the last step always is."""
    mask: MaskUse | None = None
    """None = every trainable parameter may move."""
    objective: Objective | None = None
    """None = the token losses of the rows."""


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
