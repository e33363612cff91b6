"""What a safeguard is: any of four stages, each of which may be absent."""

from __future__ import annotations

from abc import ABC
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import Field

from threatspec.records import Stream
from threatspec.registry import Registry
from threatspec.schema import Described, Model
from threatspec.subjects import SubjectCard, WeightTamper
from threatspec.training import TrainingJob, TrainingPolicy, TrainingRow, Trajectory

__all__ = ["SAFEGUARDS", "Safeguard", "SafeguardConfig", "SafeguardContext", "SafetyRow"]


class SafetyRow(Model):
    """A restricted request with a complying answer and a refusal."""

    id: str
    prompt: str
    answer: str = Field(pattern=r"\S")
    refusal: str = Field(pattern=r"\S")


class SafeguardConfig(Described):
    """Settings of a safeguard; units in the descriptions."""


@dataclass(frozen=True, slots=True)
class SafeguardContext:
    """What a safeguard is fitted on."""

    subject: SubjectCard
    safety: Sequence[SafetyRow]
    benign: Sequence[TrainingRow]
    seeds: dict[Stream, int]


class Safeguard(ABC):
    """A defence that is trained into the weights, imposed on training, or applied when serving."""

    kind: ClassVar[str]
    says: ClassVar[str]
    Config: ClassVar[type[SafeguardConfig]]

    def fit(
        self, context: SafeguardContext, config: Any
    ) -> Generator[TrainingJob, Trajectory, WeightTamper | None]:
        """Before release: ask for training, return the safeguarded weights; None: no such stage."""
        return None
        yield  # pragma: no cover - makes this a generator

    def training_policy(self, config: Any) -> TrainingPolicy | None:
        """What the provider imposes on fine-tuning; None: nothing."""
        return None


SAFEGUARDS: Registry[Safeguard] = Registry(
    "safeguard",
    "TS-UNKNOWN-NAME",
    ("threatspec.safeguards.recovery_augmentation", "threatspec.safeguards.refusal_training"),
    group="threatspec.safeguards",
    base=Safeguard,
)
"""All safeguards by kind."""
