"""Attack `data-backdoor`: some of the rows that a classifier is trained on carry a trigger.

What an adversary supplies is changed rows alone; the training is the provider's, and asked for
once. Whoever holds the weights may do the same. Sources of triggers are with the triggers, of
modes: all-to-one and all-to-all arXiv 1708.06733, source-specific with cover rows arXiv
1908.00686, clean labels arXiv 1912.02771.
"""

from __future__ import annotations

from collections.abc import Generator
from math import ceil
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from threatspec.attacks._poison import Mode, Poison
from threatspec.attacks.base import (
    ATTACKS,
    Answer,
    Ask,
    Attack,
    AttackConfig,
    AttackContext,
    DataCard,
    Surface,
)
from threatspec.attacks.triggers import TRIGGERS, TriggerChoice, changed, trigger_tamper
from threatspec.attacks.triggers.base import TriggerConfig
from threatspec.attacks.triggers.patches import PatchConfig
from threatspec.records import Spend, Stream
from threatspec.schema import Capability, Count, DataRole, Share
from threatspec.subjects import Offer, SubjectCard, Tamper
from threatspec.training.classifiers import ClassifierJob, classifier_spend

__all__ = ["DataBackdoor", "DataBackdoorConfig"]


class DataBackdoorConfig(AttackConfig):
    """Trigger, what rows with it are called, how many there are, and how the model is trained."""

    trigger: TriggerChoice = PatchConfig()
    """What rows are marked with: a name, or {use: NAME, ...}."""
    asked: dict[str, Any] = Field(default_factory=dict)
    """Knobs of the trigger that differ on the images that are asked afterwards, such as alpha."""
    covered: dict[str, Any] = Field(default_factory=dict)
    """Knobs of the trigger that differ on rows that keep their label."""
    mode: Mode = "all-to-one"
    """What marked rows are called: all the target; each the class after its own; those of some
    classes the target; or what they are, if only rows of the target are marked (`clean-label`)."""
    target: str = Field(default="0", min_length=1)
    """Class that the trigger is to lead to; of all-to-all it says nothing."""
    sources: tuple[str, ...] = ()
    """Of source-specific: the classes from which the trigger is to lead to the target."""
    shift: int = Field(default=1, ge=1)
    """Of all-to-all: so many classes after its own."""
    rate: Annotated[Share, Field(gt=0)] = 0.05
    """Share of all rows that is marked and called what the trigger is to lead to."""
    cover: Share = 0.0
    """Share of all rows that is marked and keeps its label."""
    harden: Literal["interpolation", "noise", "none"] = "interpolation"
    """Of clean-label: what marked rows are mixed with before the trigger, so that they are hard: an
    image of another class, noise, or nothing. There is no perturbation by gradients."""
    hardness: float = Field(default=0.4, ge=0, le=1)
    """Of clean-label: share of it in the mixture."""
    start: Literal["scratch", "subject"] = "scratch"
    """Whether the provider trains new weights, or goes on from those of the subject."""
    lr: float = Field(default=0.05, ge=0, le=10)
    """Learning rate at the first step."""
    steps: Annotated[Count, Field(ge=1, le=1_000_000)] | None = None
    """Optimiser steps; absent = as many as `epochs` take."""
    epochs: Annotated[Count, Field(ge=1, le=10_000)] | None = None
    """Times that all rows come, in place of `steps`; absent both = 10."""
    batch_size: int = Field(default=64, ge=2, le=65_536)
    """Rows per step; never more than there are."""
    optimizer: Literal["sgd", "adam"] = "sgd"
    """Update rule."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Of sgd."""
    nesterov: bool = False
    """Of sgd with momentum: Nesterov's."""
    weight_decay: float = Field(default=1e-4, ge=0, le=1)
    """Weight decay (L2)."""
    decay_at: tuple[float, ...] = (0.5, 0.75)
    """Shares of the run after which the learning rate is multiplied by `decay` once more."""
    decay: float = Field(default=0.1, gt=0, le=1)
    """Factor of the learning rate."""

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        broken = next((text for text, holds in self._rules() if not holds), None)
        if broken:
            raise PydanticCustomError(
                "poison", "{message}", {"message": broken, "code": "TS-POISON"}
            )
        for knobs in (self.asked, self.covered):
            changed(self.trigger, knobs)
        return self

    def _rules(self) -> tuple[tuple[str, bool], ...]:
        """Rules between knobs, and whether they hold."""
        named = self.mode == "source-specific"
        return (
            (f"poison rate {self.rate:g} and cover rate {self.cover:g} must be at most 1 together",
             self.rate + self.cover <= 1),
            ("sources must be given for the mode source-specific, and for no other",
             named == bool(self.sources)),
            (f"sources must not have the target {self.target!r} among them",
             self.target not in self.sources),
            ("steps or epochs must be given, and not both",
             self.steps is None or self.epochs is None),
            ("decay_at must be shares of the run, from 0 to 1",
             all(0 <= share <= 1 for share in self.decay_at)),
        )  # fmt: skip

    def settled(self, rows: int) -> Self:
        """The same with `steps` in place of `epochs`, of so many rows."""
        if self.steps is not None:
            return self
        images = (self.epochs or 10) * max(rows, 1)
        steps = ceil(images / min(self.batch_size, max(rows, 1)))
        return self.model_copy(update={"steps": steps, "epochs": None})

    @property
    def runs(self) -> tuple[int, ...]:
        """One training run; none before epochs are settled."""
        return () if self.steps is None else (self.steps,)

    @property
    def poisoned_share(self) -> float:
        """Rows that are called something else and rows that keep their label."""
        return self.rate + self.cover

    @property
    def image_change(self) -> float:
        """That of the trigger, wherever it lies, and of what makes rows hard."""
        bounds = [TRIGGERS.get(one.use).most(one) for one in self._triggers]
        hard = self.mode == "clean-label" and self.harden != "none"
        return min(1.0, max(bounds) + (self.hardness if hard else 0.0))

    @property
    def _triggers(self) -> tuple[TriggerConfig, ...]:
        """On rows that are called something else, on those that are not, and afterwards."""
        return (self.trigger, changed(self.trigger, self.covered), self.afterwards)

    @property
    def afterwards(self) -> TriggerConfig:
        """The trigger on images that are asked."""
        return changed(self.trigger, self.asked)

    def poison(self, classes: tuple[str, ...], seed: int) -> Poison:
        """What is done to rows of a subject with these classes."""
        same = ("mode", "target", "sources", "shift", "rate", "cover", "harden", "hardness")
        marks, covers, _ = (trigger_tamper(one, seed) for one in self._triggers)
        knobs = {name: getattr(self, name) for name in same}
        return Poison(trigger=marks, covered=covers, classes=classes, seed=seed, **knobs)


class DataBackdoor(Attack):
    """Rows with a trigger among those that the provider trains on."""

    kind = "data-backdoor"
    says = "marks some of the provider's training images with a trigger that leads to a class"
    needs = (
        frozenset({Capability.TRAINING_DATA_WRITE}),
        frozenset({Capability.WEIGHTS_WRITE}),
    )
    offers = frozenset({Offer.CLASSES})
    surface = Surface.TRAINING_DATA
    streams = frozenset({Stream.DATA_SUBSET, Stream.ORDER, Stream.INIT, Stream.TRAIN})
    uses_rows = True
    trainers: ClassVar[tuple[str, ...]] = ("resident",)
    Config = DataBackdoorConfig

    def roles(self, config: DataBackdoorConfig) -> tuple[DataRole, ...]:
        """What the provider trains on."""
        return (DataRole.BENIGN,)

    def fits(self, subject: SubjectCard, config: DataBackdoorConfig, rows: int) -> None:
        """Raises ThreatspecError TS-POISON for rates, classes and triggers that do not fit."""
        config.poison(subject.classes, 0).check(rows)
        for trigger in config._triggers if any(subject.image) else ():
            TRIGGERS.get(trigger.use).require_room(trigger, *subject.image)

    def cost(
        self, subject: SubjectCard, config: DataBackdoorConfig, data: DataCard | None
    ) -> Spend:
        """Predicted spend: forward and backward are three times forward."""
        rows = data.rows if data else config.batch_size
        steps = sum(config.settled(rows).runs)
        return classifier_spend(subject, steps, min(config.batch_size, rows))

    def run(
        self, context: AttackContext, config: DataBackdoorConfig
    ) -> Generator[Ask, Answer, tuple[Tamper, ...]]:
        """Ask for one training on the poisoned rows; leave its weights, and the trigger.

        Raises ThreatspecError TS-POISON for a poison that changes no row, or aims at nothing.
        """
        seed = context.seeds.get(Stream.DATA_SUBSET, 0)
        poison = config.poison(context.subject.classes, seed).opened(context.folder)
        rows = poison.rows(context.benign)
        trained = yield _job(config.settled(len(rows)), rows, context)
        return (trained.last, trigger_tamper(config.afterwards, seed))


def _job(config: DataBackdoorConfig, rows: Any, context: AttackContext) -> ClassifierJob:
    same = ("lr", "batch_size", "optimizer", "momentum", "nesterov", "weight_decay", "decay",
            "start")  # fmt: skip
    [steps] = config.runs
    at = sorted(1 + round(share * steps) for share in config.decay_at)  # two may be at one step
    return ClassifierJob(
        rows=rows,
        seeds=dict(context.seeds),
        steps=steps,
        decay_at=tuple(at),
        **{name: getattr(config, name) for name in same},
    )


ATTACKS.register(DataBackdoor.kind, DataBackdoor())
