"""Attack `adapter-finetune`: any adapter of the table is trained on the adversary's rows."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from threatspec.attacks._finetune import Finetune, FinetuneConfig, ask_for_training, finetune_cost
from threatspec.attacks.base import (
    ATTACKS,
    Answer,
    Ask,
    AttackContext,
    DataCard,
)
from threatspec.errors import did_you_mean
from threatspec.records import Spend, Stream
from threatspec.subjects import SubjectCard, Tamper
from threatspec.training import ADAPTERS, Adapter, AdapterMethod

__all__ = ["AdapterFinetune", "AdapterFinetuneConfig"]

_LOW_RANK = frozenset({"lora", "rslora"})


class AdapterFinetuneConfig(FinetuneConfig):
    """Knobs of an optimisation and of its adapter; what is absent is as the method's table says."""

    method: str = "ia3"
    """Row of the table of adapters: lora, rslora, dora, vera, loha, lokr, oft, hra, fourierft,
    miss, ia3, ln-tuning, prefix, prompt, p-tuning or llama-adapter."""
    rank: int | None = Field(default=None, ge=1, le=1024)
    """Rank, for methods that have one."""
    alpha: float | None = Field(default=None, gt=0)
    """Scale, for methods that have one."""
    dropout: float | None = Field(default=None, ge=0, lt=1)
    """Dropout of the adapter, for methods that have one."""
    tokens: int | None = Field(default=None, ge=1, le=4096)
    """Learned tokens, for methods that have them."""
    blocks: int | None = Field(default=None, ge=1, le=1024)
    """Blocks that are adapted, the last ones, for methods that choose."""
    targets: Literal["all-linear"] | tuple[str, ...] | None = None
    """Linear layers that get an adapter; absent = all, for methods that choose."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Further settings of the method's configuration in peft."""

    @field_validator("method")
    @classmethod
    def _known(cls, method: str) -> str:
        if method not in ADAPTERS:
            known = list(ADAPTERS)
            text = f"method must be an adapter of the table, but {method!r} is none"
            raise ValueError(f"{text}{did_you_mean(method, known)}")
        return method

    @model_validator(mode="after")
    def _has_them(self) -> Self:
        lacking = [knob for knob in self._given if knob not in self._table.knobs]
        if self.targets is not None and self._table.targets != "linear":
            lacking.append("targets")
        if lacking:
            raise ValueError(
                f"{lacking[0]} must be a knob of the method, but {self.method} has none"
            )
        return self

    @property
    def _table(self) -> AdapterMethod:
        return ADAPTERS[self.method]

    @property
    def _given(self) -> dict[str, Any]:
        names = ("rank", "alpha", "dropout", "tokens", "blocks")
        found = {name: getattr(self, name) for name in names}
        return {name: value for name, value in found.items() if value is not None}

    @property
    def adapter(self) -> Adapter:
        """The adapter that the trainer is asked for."""
        options = {self._table.knobs[name]: value for name, value in self._given.items()}
        if self.targets is not None:
            whole = isinstance(self.targets, str)
            options["target_modules"] = self.targets if whole else list(self.targets)
        return Adapter(method=self.method, options={**options, **self.options})

    @property
    def change_rank(self) -> int | None:
        """Rank of the change, of methods that bound it."""
        if self.method not in _LOW_RANK:
            return None
        return int({**self._table.defaults, **self.adapter.options}["r"])


class AdapterFinetune(Finetune):
    """Supervised fine-tuning of an adapter (peft), loss on answers."""

    kind = "adapter-finetune"
    says = "trains a chosen kind of adapter on the adversary's rows"
    streams = frozenset({Stream.DATA_SUBSET, Stream.INIT, Stream.ORDER, Stream.TRAIN})
    Config = AdapterFinetuneConfig

    def cost(
        self, subject: SubjectCard, config: AdapterFinetuneConfig, data: DataCard | None
    ) -> Spend:
        """Predicted spend: the base's, with the learned tokens that go through it."""
        method, settings = ADAPTERS[config.method], config.adapter.options
        before = settings.get("num_virtual_tokens", method.defaults.get("num_virtual_tokens", 0))
        if not method.embedded:
            return finetune_cost(subject, config, data, 0)
        words = round(before / subject.tokens_per_word)
        longer = DataCard(rows=data.rows, words=data.words + words) if data else None
        return finetune_cost(subject, config, longer, 0)

    def run(
        self, context: AttackContext, config: AdapterFinetuneConfig
    ) -> Generator[Ask, Answer, tuple[Tamper, ...]]:
        """Ask for one run; leave an adapter."""
        hyperparameters = config.hyperparameters(config.adapter)
        return (yield from ask_for_training(context, hyperparameters, config.recipe))


ATTACKS.register(AdapterFinetune.kind, AdapterFinetune())
