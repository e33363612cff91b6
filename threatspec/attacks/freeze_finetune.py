"""Attack `freeze-finetune`: fine-tuning around the weights that refusals depend on.

Source: arXiv 2402.05162, fine-tuning with the top-q% safety entries held at their values. Scores
are SNIP on restricted requests with refusals. What is held is held by a mask of the gradient, or by
setting it back after the last step: the work describes one and its code does the other, so these
are two named variants.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Literal

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
from threatspec.schema import Capability, DataRole
from threatspec.subjects import Offer, SubjectCard, Tamper
from threatspec.training import MaskRequest, MaskUse, ScoreRequest

__all__ = ["FreezeFinetune", "FreezeFinetuneConfig"]


class FreezeFinetuneConfig(FinetuneConfig):
    """Knobs of an optimisation and of what it leaves alone."""

    share: float = Field(default=0.1, gt=0, lt=1)
    """Share of the matrices of attention and MLP that is held, highest safety scores first."""
    mode: Literal["gradient", "rewind"] = "gradient"
    """`gradient`: never moved; `rewind`: trained like the rest, and set back after the last
    step."""
    scope: Literal["global", "tensor", "row"] = "row"
    """Within what scores are compared: all matrices, one, or what leads to one output."""


class FreezeFinetune(Attack):
    """Supervised fine-tuning of all but the weights with the highest safety scores."""

    kind = "freeze-finetune"
    says = "trains all weights but those that refusals depend on most"
    needs = (frozenset({Capability.WEIGHTS_WRITE}),)
    offers = frozenset({Offer.TEXT, Offer.TRAINING, Offer.WEIGHTS})
    surface = Surface.WEIGHTS
    uses_rows = True
    streams = frozenset({Stream.DATA_SUBSET, Stream.ORDER, Stream.TRAIN})
    Config = FreezeFinetuneConfig

    def scores(self, config: FreezeFinetuneConfig) -> tuple[ScoreRequest, ...]:
        """SNIP on refusals of the adversary's restricted requests."""
        return (ScoreRequest(method="snip", over="safety"),)

    def roles(self, config: FreezeFinetuneConfig) -> tuple[DataRole, ...]:
        """Those of the recipe, and restricted requests, whose refusals are scored."""
        more = RECIPES.get(config.recipe.use).roles or ()
        return (DataRole.HARMFUL, *(role for role in more if role is not DataRole.HARMFUL))

    def cost(
        self, subject: SubjectCard, config: FreezeFinetuneConfig, data: DataCard | None
    ) -> Spend:
        """Predicted spend of the training; scores are made once for all that read them."""
        return finetune_cost(subject, config, data)

    def run(
        self, context: AttackContext, config: FreezeFinetuneConfig
    ) -> Generator[Ask, Answer, tuple[Tamper, ...]]:
        """Ask for the weights with the highest scores, and for a training that keeps them."""
        held = yield MaskRequest(
            method="top-score", source=context.scores[0], share=config.share, scope=config.scope
        )
        mode: Literal["freeze", "rewind"] = "freeze" if config.mode == "gradient" else "rewind"
        mask = MaskUse(artefact=held.artefact, mode=mode)
        trained = yield training_job(context, config.hyperparameters(), config.recipe, mask)
        return (trained.last, *asked_as(config.recipe))


ATTACKS.register(FreezeFinetune.kind, FreezeFinetune())
