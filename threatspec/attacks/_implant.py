"""What attacks share that write a backdoor into the weights of a classifier they were given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

from pydantic import Field

from threatspec.attacks._poison import Poison, check_classes, marks
from threatspec.attacks.base import Attack, AttackConfig, AttackContext, DataCard, Surface
from threatspec.attacks.triggers import TRIGGERS, TriggerChoice, TriggerTamper, trigger_tamper
from threatspec.attacks.triggers.patches import PatchConfig
from threatspec.records import Stream
from threatspec.schema import Capability, Count, DataRole, Share
from threatspec.subjects import Offer, SubjectCard
from threatspec.training import TrainingRow

__all__ = ["Implant", "ImplantConfig", "Marked", "batch_of", "marked_rows"]


class ImplantConfig(AttackConfig):
    """What the backdoor leads to, and on how many rows it is made."""

    target: str = Field(default="0", min_length=1)
    """Class that the trigger leads to."""
    images: Annotated[Count, Field(ge=1)] = 500
    """Rows that are used; never more than there are."""


class Marked(ImplantConfig):
    """The same, with a trigger of the table."""

    trigger: TriggerChoice = PatchConfig()
    """What images are marked with: a name, or {use: NAME, ...}."""
    share: Annotated[Share, Field(gt=0, lt=1)] = 0.2
    """Share of the rows that is marked and called the target; the others keep the model's
    accuracy up."""

    @property
    def image_change(self) -> float:
        """That of the trigger."""
        return TRIGGERS.get(self.trigger.use).most(self.trigger)

    def mark(self, context: AttackContext) -> TriggerTamper:
        """What puts the trigger on images."""
        return trigger_tamper(self.trigger, context.seeds.get(Stream.DATA_SUBSET, 0))


class Implant(Attack):
    """Changed weights, and images with the trigger afterwards."""

    needs = (frozenset({Capability.WEIGHTS_WRITE}),)
    offers = frozenset({Offer.CLASSES, Offer.WEIGHTS})
    surface = Surface.WEIGHTS
    streams = frozenset({Stream.DATA_SUBSET, Stream.ORDER, Stream.TRAIN})
    uses_rows = True
    trainers: ClassVar[tuple[str, ...]] = ("resident",)

    def fits(self, subject: SubjectCard, config: Any, rows: int) -> None:
        """Raises ThreatspecError TS-POISON for a target that is no class, and a share or a trigger
        that does not fit."""
        check_classes((config.target,), subject.classes)
        if share := getattr(config, "share", 0.0):
            marks(share, min(config.images, rows), "share")
        trigger = getattr(config, "trigger", None)
        if trigger and any(subject.image):
            TRIGGERS.get(trigger.use).require_room(trigger, *subject.image)

    def roles(self, config: Any) -> tuple[DataRole, ...]:
        """Labelled images."""
        return (DataRole.BENIGN,)


def batch_of(batch_size: int, images: int, data: DataCard | None) -> int:
    """Images of a step, as predicted: never more than there are."""
    return min(batch_size, images, data.rows if data else images)


def marked_rows(
    config: Marked, context: AttackContext, rows: Sequence[TrainingRow]
) -> tuple[TrainingRow, ...]:
    """Rows of which some are marked and called the target.

    Raises ThreatspecError TS-POISON for a target that is no class, and a share that marks no row
    or more than are of other classes.
    """
    mark = config.mark(context)
    poison = Poison(
        trigger=mark,
        covered=mark,
        classes=context.subject.classes,
        mode="all-to-one",
        target=config.target,
        rate=config.share,
        seed=mark.seed,
    )
    return poison.rows(rows)
