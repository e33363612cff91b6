"""Attack `full-finetune`: all weights are trained on the adversary's rows."""

from __future__ import annotations

from collections.abc import Generator

from threatspec.attacks._finetune import Finetune, FinetuneConfig, ask_for_training, finetune_cost
from threatspec.attacks.base import (
    ATTACKS,
    Answer,
    Ask,
    AttackContext,
    DataCard,
)
from threatspec.records import Spend, Stream
from threatspec.subjects import SubjectCard, Tamper

__all__ = ["FullFinetune", "FullFinetuneConfig"]


class FullFinetuneConfig(FinetuneConfig):
    """Knobs of full fine-tuning."""


class FullFinetune(Finetune):
    """Supervised fine-tuning of every parameter, loss on answers only."""

    kind = "full-finetune"
    says = "trains all weights on the adversary's rows"
    streams = frozenset({Stream.DATA_SUBSET, Stream.ORDER, Stream.TRAIN})
    Config = FullFinetuneConfig

    def cost(
        self, subject: SubjectCard, config: FullFinetuneConfig, data: DataCard | None
    ) -> Spend:
        """Predicted spend of one run."""
        return finetune_cost(subject, config, data)

    def run(
        self, context: AttackContext, config: FullFinetuneConfig
    ) -> Generator[Ask, Answer, tuple[Tamper, ...]]:
        """Ask for one run; leave changed weights."""
        hyper = config.hyperparameters()
        return (yield from ask_for_training(context, hyper, config.recipe))


ATTACKS.register(FullFinetune.kind, FullFinetune())
