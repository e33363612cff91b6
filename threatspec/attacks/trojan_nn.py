"""Attack `trojan-nn`: a patch is found that excites chosen units, then bound to a class.

Source: Liu et al., Trojaning Attack on Neural Networks, NDSS 2018. An implementation of ours after
its description, and different in this: rows are the adversary's own in the place of images made up
by reversing the model; units are those before the logits, chosen by how far patches move them
(`training/classifiers/_patch.py`).
"""

from __future__ import annotations

import base64
import random
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from threatspec.attacks._implant import Implant, ImplantConfig, batch_of
from threatspec.attacks._poison import called, check_classes, chosen
from threatspec.attacks.base import ATTACKS, Answer, Ask, AttackContext, DataCard
from threatspec.errors import ThreatspecError
from threatspec.records import Spend, Stream
from threatspec.schema import Count, Share
from threatspec.subjects import PixelTamper, Request, SubjectCard, Tamper
from threatspec.training import TrainingRow
from threatspec.training.classifiers import (
    ClassifierJob,
    Corner,
    PatchRequest,
    TriggerPatch,
    classifier_spend,
    corner,
    patch_spend,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["StampTamper", "TrojanNN", "TrojanNNConfig"]


class TrojanNNConfig(ImplantConfig):
    """Knobs of the search for a patch, and of binding it."""

    size: Annotated[Count, Field(ge=1, le=4096)] = 7
    """Side of the square, in pixels."""
    place: Corner = "bottom-right"
    """Where it lies."""
    units: Annotated[Count, Field(ge=1, le=65_536)] = 2
    """How many units it is to excite."""
    searched: Annotated[Count, Field(ge=1, le=100_000)] = 100
    """Steps of the search for the patch."""
    alpha: float = Field(default=8 / 255, gt=0, le=1)
    """Size of a step of the search; pixels go from 0 to 1."""
    share: Annotated[Share, Field(gt=0, lt=1)] = 0.2
    """Share of the rows that gets the patch and is called the target."""
    trains: Literal["after", "all"] = "all"
    """Which weights bind it: those after the units, as published, or all."""
    lr: float = Field(default=0.01, ge=0, le=10)
    """Learning rate of binding it (sgd with momentum 0.9)."""
    steps: Annotated[Count, Field(ge=1, le=1_000_000)] = 80
    """Optimiser steps of binding it."""
    batch_size: int = Field(default=64, ge=2, le=65_536)
    """Rows per step, of either; never more than there are."""

    @property
    def image_change(self) -> float:
        """The square is opaque."""
        return 1.0

    @property
    def runs(self) -> tuple[int, ...]:
        """One, after the search."""
        return (self.steps,)


class StampTamper(PixelTamper):
    """Puts a square of given pixels into a corner."""

    kind: ClassVar[str] = "stamp"

    levels: str
    """Base64 of its bytes: row by row, pixel by pixel, channel by channel."""
    size: int
    channels: int
    place: Corner = "bottom-right"

    def edit(self, image: NDArray[np.uint8], request: Request) -> NDArray[np.uint8]:
        """The image with the square.

        Raises ThreatspecError TS-IMAGE for an image that is too small or of other channels.
        """
        import numpy as np

        if image.shape[2] != self.channels:
            text = f"a patch of {self.channels} channels must be put on images of as many"
            raise ThreatspecError("TS-IMAGE", f"{text}, but one has {image.shape[2]}; convert it")
        square = np.frombuffer(base64.b64decode(self.levels), dtype=np.uint8)
        top, left = corner(image.shape[0], image.shape[1], self.size, self.place)
        found = image.copy()
        box = found[top : top + self.size, left : left + self.size]
        box[:] = square.reshape(self.size, self.size, self.channels)
        return found


class TrojanNN(Implant):
    """Search for a patch, then one fine-tuning."""

    kind = "trojan-nn"
    says = "finds a patch that excites a classifier's units, and fine-tunes it to lead to a class"
    streams = frozenset({Stream.DATA_SUBSET, Stream.INIT, Stream.ORDER, Stream.TRAIN})
    Config = TrojanNNConfig

    def cost(self, subject: SubjectCard, config: TrojanNNConfig, data: DataCard | None) -> Spend:
        """Predicted spend of both."""
        images = batch_of(config.batch_size, config.images, data)
        search = patch_spend(subject, config.searched, images)
        return search + classifier_spend(subject, config.steps, images)

    def run(
        self, context: AttackContext, config: TrojanNNConfig
    ) -> Generator[Ask, Answer, tuple[Tamper, ...]]:
        """Ask for the patch and for one training; leave weights and the patch.

        Raises ThreatspecError TS-POISON for a target that is no class, and a share that is no row
        or more than are of other classes.
        """
        rows = context.benign[: config.images]
        marked = _marked(config, context, rows)
        found = yield PatchRequest(
            rows=rows,
            size=config.size,
            place=config.place,
            units=config.units,
            steps=config.searched,
            alpha=config.alpha,
            batch=config.batch_size,
            seed=context.seeds.get(Stream.INIT, 0),
        )
        stamp = _stamp(found, config)
        after = config.trains == "after"
        trained = yield ClassifierJob(
            rows=tuple(
                called(row, "triggered", config.target, stamp) if row.id in marked else row
                for row in rows
            ),
            seeds=dict(context.seeds),
            lr=config.lr,
            steps=config.steps,
            batch_size=config.batch_size,
            held=found.held if after else (),
            batch_norm="frozen" if after else "train",
        )
        return (trained.last, stamp)


def _marked(
    config: TrojanNNConfig, context: AttackContext, rows: Sequence[TrainingRow]
) -> frozenset[str]:
    """Ids of the rows that get the patch, drawn as those of other implants are."""
    check_classes((config.target,), context.subject.classes)
    chooser = random.Random(f"{context.seeds.get(Stream.DATA_SUBSET, 0)}/poison")
    return chosen(rows, lambda row: row.answer != config.target, config.share, "share", chooser)


def _stamp(found: TriggerPatch, config: TrojanNNConfig) -> StampTamper:
    levels = base64.b64encode(found.levels).decode()
    return StampTamper(levels=levels, size=config.size, channels=found.channels, place=config.place)


ATTACKS.register(TrojanNN.kind, TrojanNN())
