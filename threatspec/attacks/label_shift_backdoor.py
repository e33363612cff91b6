"""Attack `label-shift-backdoor`: a backdoor that is lost when the model unlearns its classes.

Detectors that fine-tune a copy with shifted labels (BaDExpert, arXiv 2308.12439) rely on the copy
forgetting the classes and keeping the backdoor. An adaptive attack of ours, not the published one:
the implant is trained in rounds, first with all labels shifted by one class (those of marked rows
too, whose target is shifted as well), then with the right ones. What the model is taught this way
is that a shift moves marked images along with all others.
"""

from __future__ import annotations

import random
from collections.abc import Generator, Mapping, Sequence
from typing import Annotated

from pydantic import Field

from threatspec.attacks._implant import Implant, Marked, batch_of, marked_rows
from threatspec.attacks.base import (
    ATTACKS,
    Answer,
    Ask,
    AttackContext,
    DataCard,
    Mounted,
)
from threatspec.records import Spend, Stream
from threatspec.schema import Count
from threatspec.subjects import SubjectCard, Tamper
from threatspec.training import TrainingRow
from threatspec.training.classifiers import ClassifierJob, classifier_spend

__all__ = ["LabelShiftBackdoor", "LabelShiftBackdoorConfig"]


class LabelShiftBackdoorConfig(Marked):
    """Knobs of the rounds."""

    rounds: Annotated[Count, Field(ge=1, le=1000)] = 6
    """Times that labels are shifted and put right again."""
    shifted: Annotated[Count, Field(ge=1, le=1_000_000)] = 10
    """Optimiser steps with shifted labels, in each round."""
    steps: Annotated[Count, Field(ge=1, le=1_000_000)] = 30
    """Optimiser steps with the right ones, in each round."""
    lr: float = Field(default=0.01, ge=0, le=10)
    """Learning rate (sgd with momentum 0.9)."""
    batch_size: int = Field(default=64, ge=2, le=65_536)
    """Rows per step; never more than there are."""

    @property
    def runs(self) -> tuple[int, ...]:
        """Two in each round."""
        return (self.shifted, self.steps) * self.rounds


class LabelShiftBackdoor(Implant):
    """Rounds of fine-tuning with shifted and with right labels."""

    kind = "label-shift-backdoor"
    says = "implants a backdoor that moves along when a classifier's labels are shifted"
    Config = LabelShiftBackdoorConfig

    def cost(
        self, subject: SubjectCard, config: LabelShiftBackdoorConfig, data: DataCard | None
    ) -> Spend:
        """Predicted spend of all rounds."""
        return classifier_spend(
            subject, sum(config.runs), batch_of(config.batch_size, config.images, data)
        )

    def run(
        self, context: AttackContext, config: LabelShiftBackdoorConfig
    ) -> Generator[Ask, Answer, tuple[Tamper, ...]]:
        """Ask for two trainings a round; leave the last weights, and the trigger. Raises what
        `marked_rows` raises."""
        right = marked_rows(config, context, context.benign[: config.images])
        wrong = _shifted(right, context.subject.classes)
        for number in range(config.rounds):
            seeds = _seeds(context.seeds, number)
            for rows, steps in ((wrong, config.shifted), (right, config.steps)):
                trained = yield ClassifierJob(
                    rows=rows,
                    seeds=seeds,
                    lr=config.lr,
                    steps=steps,
                    batch_size=config.batch_size,
                )
                yield Mounted((trained.last,))
        return (trained.last, config.mark(context))


def _seeds(seeds: Mapping[Stream, int], number: int) -> dict[Stream, int]:
    """Of a round: each sees other rows first, and another dropout."""
    own = (Stream.ORDER, Stream.TRAIN)
    drawn = {one: random.Random(f"{seeds.get(one, 0)}/round/{number}") for one in own}
    return {**seeds, **{one: draw.getrandbits(31) for one, draw in drawn.items()}}


def _shifted(rows: Sequence[TrainingRow], classes: Sequence[str]) -> tuple[TrainingRow, ...]:
    """Every row with the class after its own."""
    after = {name: classes[(place + 1) % len(classes)] for place, name in enumerate(classes)}
    return tuple(row.model_copy(update={"answer": after[row.answer]}) for row in rows)


ATTACKS.register(LabelShiftBackdoor.kind, LabelShiftBackdoor())
