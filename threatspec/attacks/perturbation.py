"""Attack `perturbation`: vectors are trained that are added to hidden states, weights stay.

Layer 0 is the token embeddings, layer n what block n puts out. One vector per layer is added at
every position, of every prompt, and stays within a ball whose radius is given relative to the
hidden states there: a continuous stand-in for what prompts could do at most.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Annotated

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
from threatspec.schema import Capability
from threatspec.subjects import SubjectCard, Tamper
from threatspec.training import Perturbation as Added

__all__ = ["Perturbation", "PerturbationConfig"]


class PerturbationConfig(FinetuneConfig):
    """Knobs of an optimisation and of where its vectors are added."""

    layers: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(0,), min_length=1)
    """Where vectors are added: 0 = to the token embeddings, n = to what block n puts out."""
    radius: Annotated[float, Field(gt=0, le=100), Searched(low=0.05, high=1.0, log=True)] = 1.0
    """Longest a vector may be, in mean lengths of the hidden states of its layer."""

    @property
    def perturbation(self) -> Added:
        """The perturbation that the trainer is asked for."""
        return Added(layers=self.layers, eps=self.radius)


class Perturbation(Finetune):
    """Supervised training of one vector per layer, the same for all prompts and positions."""

    kind = "perturbation"
    says = "adds trained vectors to embeddings or hidden states, and leaves the weights alone"
    needs = (frozenset({Capability.WEIGHTS_WRITE}),)
    streams = frozenset({Stream.DATA_SUBSET, Stream.ORDER, Stream.TRAIN})
    trainers = ("resident",)
    Config = PerturbationConfig

    def cost(
        self, subject: SubjectCard, config: PerturbationConfig, data: DataCard | None
    ) -> Spend:
        """Predicted spend of one run."""
        return finetune_cost(subject, config, data, len(config.layers) * subject.hidden)

    def run(
        self, context: AttackContext, config: PerturbationConfig
    ) -> Generator[Ask, Answer, tuple[Tamper, ...]]:
        """Ask for one run; leave the vectors."""
        asked = config.hyperparameters().model_copy(update={"perturbation": config.perturbation})
        return (yield from ask_for_training(context, asked, config.recipe))


ATTACKS.register(Perturbation.kind, Perturbation())
