"""Safeguard `fine-pruning`: what clean images leave dormant is silenced, and the rest fine-tuned.

Source: arXiv 1805.12185: a backdoor lives in neurons that clean inputs leave dormant. Channels of
the last convolution are silenced in the order of their mean activation on clean images while
accuracy on held-out ones keeps within a bound; then the classifier is fine-tuned on clean images.

Other than published: the silenced layer is held while the rest is fine-tuned, so that what was
silenced stays so; and in a block with a shortcut the shortcut still carries its own channels.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Annotated, Any

from pydantic import Field

from threatspec.records import Spend
from threatspec.safeguards._clean_split import clean_split
from threatspec.safeguards._screening import accuracy
from threatspec.safeguards.base import (
    SAFEGUARDS,
    Answer,
    Ask,
    Fitted,
    Safeguard,
    SafeguardConfig,
    SafeguardContext,
    Stage,
)
from threatspec.schema import Count, SafeguardRole
from threatspec.subjects import Offer, SubjectCard
from threatspec.training.classifiers import ClassifierJob, PruneRequest
from threatspec.training.classifiers._spend import classifier_spend

__all__ = ["FinePruning", "FinePruningConfig"]


class FinePruningConfig(SafeguardConfig):
    """How much is silenced, and how the rest is fine-tuned."""

    most: float = Field(default=0.9, ge=0, lt=1)
    """Share of the last convolution's channels that are silenced at most; 0 = fine-tuning alone."""
    drop: float = Field(default=0.04, ge=0, lt=1)
    """How far accuracy on held-out clean images may fall before it is fine-tuned."""
    held_out: float = Field(default=0.5, gt=0, lt=1)
    """Share of the clean images that only this bound is judged on."""
    steps: Annotated[Count, Field(ge=0)] = 50
    """Optimiser steps (SGD, momentum 0.9) of fine-tuning; 0 = pruning alone."""
    lr: float = Field(default=0.01, gt=0, le=1)
    """Learning rate of fine-tuning."""
    batch_size: Annotated[Count, Field(ge=2)] = 32
    """Images of an optimiser step."""


class FinePruning(Safeguard):
    """A repair of the weights that an attack has left: nothing is rejected afterwards."""

    kind = "fine-pruning"
    says = "silences channels that clean images leave dormant, and fine-tunes on clean images"
    source = "arXiv 1805.12185"
    stages = frozenset({Stage.REPAIR})
    offers = frozenset({Offer.CLASSES})
    Config = FinePruningConfig

    def roles(self, config: FinePruningConfig) -> tuple[SafeguardRole, ...]:
        """The defender's clean labelled images."""
        return ("benign",)

    def cost(self, subject: SubjectCard, config: FinePruningConfig, rows: int, words: int) -> Spend:
        """Of fine-tuning; reading clean images is not counted, as reading is nowhere."""
        return classifier_spend(subject, config.steps, config.batch_size)

    def repair(
        self, context: SafeguardContext, config: FinePruningConfig
    ) -> Generator[Ask, Answer, Fitted]:
        """Silence channels, then fine-tune what is left.

        Raises ThreatspecError TS-SAFEGUARD for clean rows that are no labelled images or are too
        few for two parts, TS-TARGETS for a subject that is no network of convolutions.
        """
        clean = clean_split(context, config.held_out)
        pruned = yield PruneRequest(
            rows=clean.fitting, judged_on=clean.held_out, most=config.most, drop=config.drop
        )
        if not pruned.channels and config.most:
            context.warn(_spared(pruned.of, config))
        tampers = [pruned.tamper]
        if config.steps:
            trained = yield ClassifierJob(
                rows=clean.fitting, seeds=dict(context.seeds), lr=config.lr, steps=config.steps,
                batch_size=config.batch_size, optimizer="sgd", momentum=0.9,
                held=tuple(f"{name}." for name in pruned.layers),
            )  # fmt: skip
            tampers.append(trained.last)
        last = accuracy(context, clean.held_out, tampers[-1].artefact)
        told: dict[str, Any] = {"silenced": len(pruned.channels), "channels": pruned.of}
        told |= {"before": pruned.before, "pruned": pruned.after, "repaired": last}
        return Fitted(tampers=tuple(tampers), provided=told)


def _spared(channels: int, config: FinePruningConfig) -> str:
    none = "TS-SAFEGUARD: fine-pruning silenced no channel, as "
    if int(config.most * channels) == 0:
        return f"{none}{config.most:g} of {channels} is less than one"
    return f"{none}the first one already costs more than {config.drop:g} of held-out accuracy"


SAFEGUARDS.register(FinePruning.kind, FinePruning())
