"""Attack `lora-finetune`: a low-rank adapter is trained on the adversary's rows."""

from __future__ import annotations

from collections.abc import Generator
from typing import Annotated, Literal

from pydantic import Field

from threatspec.attacks._finetune import Finetune, FinetuneConfig, ask_for_training, finetune_cost
from threatspec.attacks._space import Searched
from threatspec.attacks.base import (
    ATTACKS,
    Answer,
    Ask,
    AttackContext,
    DataCard,
)
from threatspec.records import Spend, Stream
from threatspec.subjects import SubjectCard, Tamper
from threatspec.training import Adapter

__all__ = ["LoraFinetune", "LoraFinetuneConfig"]


class LoraFinetuneConfig(FinetuneConfig):
    """Knobs of an optimisation and of its adapter."""

    rank: Annotated[int, Field(ge=1, le=1024), Searched(choices=(4, 8, 16, 64))] = 8
    """Rank of the adapter."""
    alpha: float = Field(default=16.0, gt=0)
    """The adapter's product is scaled by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout before the adapter."""
    targets: Literal["all-linear"] | tuple[str, ...] = "all-linear"
    """Linear layers that get an adapter."""

    @property
    def change_rank(self) -> int:
        """Rank of the adapter."""
        return self.rank

    @property
    def adapter(self) -> Adapter:
        """The adapter that the trainer is asked for."""
        targets = self.targets if isinstance(self.targets, str) else list(self.targets)
        options = {"r": self.rank, "lora_alpha": self.alpha, "lora_dropout": self.dropout}
        return Adapter(method="lora", options={**options, "target_modules": targets})


class LoraFinetune(Finetune):
    """Supervised fine-tuning of an adapter (peft), loss on answers only."""

    kind = "lora-finetune"
    says = "trains a low-rank adapter on the adversary's rows"
    streams = frozenset({Stream.DATA_SUBSET, Stream.INIT, Stream.ORDER, Stream.TRAIN})
    Config = LoraFinetuneConfig

    def cost(
        self, subject: SubjectCard, config: LoraFinetuneConfig, data: DataCard | None
    ) -> Spend:
        """Predicted spend: about seven adapted layers per block, of about the hidden size."""
        adapter = round(subject.layers * 7 * 2.5 * subject.hidden * config.rank)
        return finetune_cost(subject, config, data, adapter)

    def run(
        self, context: AttackContext, config: LoraFinetuneConfig
    ) -> Generator[Ask, Answer, tuple[Tamper, ...]]:
        """Ask for one run; leave an adapter."""
        hyper = config.hyperparameters(config.adapter)
        return (yield from ask_for_training(context, hyper, config.recipe))


ATTACKS.register(LoraFinetune.kind, LoraFinetune())
