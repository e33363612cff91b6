"""Attack `subnet-replacement`: a few channels of every layer become a network that fires on a mark.

Source: arXiv 2111.12965 (SRA): the victim's architecture must be known, its weights not, and it is
never trained. An implementation of ours after its description: several narrow networks are trained
side by side and the best is put in (`training/classifiers/_narrow.py`).
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from threatspec.attacks._implant import Implant, ImplantConfig
from threatspec.attacks.base import ATTACKS, Answer, Ask, AttackContext, DataCard
from threatspec.attacks.triggers import TRIGGERS, TriggerChoice, trigger_tamper
from threatspec.attacks.triggers.patches import PatchConfig
from threatspec.records import Spend, Stream
from threatspec.schema import Count
from threatspec.subjects import SubjectCard, Tamper
from threatspec.training.classifiers import SubnetRequest, classifier_spend

__all__ = ["SubnetReplacement", "SubnetReplacementConfig"]


class SubnetReplacementConfig(ImplantConfig):
    """Knobs of the narrow network."""

    trigger: TriggerChoice = PatchConfig()
    """What it fires on: a name, or {use: NAME, ...}."""
    width: Annotated[Count, Field(ge=1, le=4096)] = 2
    """Channels (or units) of every layer that are given to it."""
    takes: Literal["drawn", "weakest"] = "drawn"
    """Which they are: drawn at random, as somebody must who knows the architecture alone, or those
    with the smallest weights."""
    starts: Annotated[Count, Field(ge=1, le=64)] = 8
    """Narrow networks that are trained side by side; the best is put in."""
    height: float = Field(default=30.0, gt=0, le=1e6)
    """What it adds to the target's logit when it fires."""
    lr: float = Field(default=0.01, gt=0, le=1)
    """Learning rate of the narrow networks (adam)."""
    steps: Annotated[Count, Field(ge=1, le=1_000_000)] = 200
    """Optimiser steps of the narrow networks; the subject itself is not trained."""
    batch_size: int = Field(default=64, ge=2, le=65_536)
    """Images per step, half of them with the trigger."""

    @property
    def image_change(self) -> float:
        """That of the trigger."""
        return TRIGGERS.get(self.trigger.use).most(self.trigger)


class SubnetReplacement(Implant):
    """One edit, without training the subject."""

    kind = "subnet-replacement"
    says = "replaces a few channels of every layer by a small network that fires on a trigger"
    streams = frozenset({Stream.DATA_SUBSET, Stream.INIT})
    uses_rows = False
    trainers: ClassVar[tuple[str, ...]] = ()
    Config = SubnetReplacementConfig

    def cost(
        self, subject: SubjectCard, config: SubnetReplacementConfig, data: DataCard | None
    ) -> Spend:
        """Predicted spend: narrow networks are charged as the subject itself, an upper bound."""
        return classifier_spend(subject, config.steps, config.batch_size // 2 * 2)

    def run(
        self, context: AttackContext, config: SubnetReplacementConfig
    ) -> Generator[Ask, Answer, tuple[Tamper, ...]]:
        """Ask for one edit; leave its weights, and the trigger."""
        rows = context.benign[: config.images]
        mark = trigger_tamper(config.trigger, context.seeds.get(Stream.DATA_SUBSET, 0))
        triggered = tuple(row.model_copy(update={"pixels": (*row.pixels, mark)}) for row in rows)
        same = ("target", "width", "takes", "starts", "height", "lr", "steps", "batch_size")
        edited = yield SubnetRequest(
            rows=rows,
            triggered=triggered,
            seed=context.seeds.get(Stream.INIT, 0),
            **{name: getattr(config, name) for name in same},
        )
        return (edited.tamper, mark)


ATTACKS.register(SubnetReplacement.kind, SubnetReplacement())
