"""What an instrument is: it reads a subject and leaves curves, which no predicate can name.

One file per instrument, parts in the same order: config, class, registration.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from threatspec.measures import Item
from threatspec.records import Arm, Curve, Panel
from threatspec.registry import Registry
from threatspec.schema import Described
from threatspec.subjects import Offer, Tamper
from threatspec.training import TrainingJob, Trajectory

if TYPE_CHECKING:
    from threatspec.subjects._resident import ResidentSubject

__all__ = ["INSTRUMENTS", "Instrument", "InstrumentConfig", "InstrumentContext", "Prompts"]


class InstrumentConfig(Described):
    """Settings of an instrument; units in the descriptions."""


@dataclass(frozen=True, slots=True)
class Prompts:
    """Prompts that an instrument reads: the first `n` of a split in reading order, which is a
    random order that the content alone decides."""

    key: str
    """Setting that names them."""
    benchmark: str
    split: str
    n: int
    answers: bool = False
    """Whether each must have a complying answer."""

    @property
    def name(self) -> str:
        """By which the instrument finds its items: `KEY#SPLIT`."""
        return f"{self.key}#{self.split}"


@dataclass(frozen=True)
class InstrumentContext:
    """What an instrument is given when it is read."""

    subject: ResidentSubject
    """With everything mounted that it is built of."""
    base: ResidentSubject | None
    """The undefended subject, where the instrument compares with it."""
    items: Mapping[str, Sequence[Item]]
    """By name of `Prompts`."""
    micro_batch: int
    """Rows that go through the model at once."""
    train: Callable[[TrainingJob], Trajectory]
    """Trains, and gives the subject's weights back; what it leaves is deleted after the reading."""
    mounted: Callable[[Tamper], AbstractContextManager[None]]
    """The subject with a checkpoint of such a training for as long as the context lasts."""


class Instrument(ABC):
    """Reads one subject at a time."""

    kind: ClassVar[str]
    """Name in the registry and in YAML."""
    says: ClassVar[str]
    """What it reads, in one plain sentence."""
    arms: ClassVar[tuple[Arm, ...]] = tuple(Arm)
    """Arms of a subject that it is read on, where they are declared."""
    offers: ClassVar[frozenset[Offer]] = frozenset({Offer.LOGITS})
    """What a subject must offer."""
    compares: ClassVar[bool] = False
    """Whether it compares with the undefended subject, which must then be declared."""
    panels: ClassVar[tuple[Panel, ...]]
    """What is drawn; every curve belongs to one of them by its name."""
    Config: ClassVar[type[InstrumentConfig]]

    @abstractmethod
    def prompts(self, config: Any) -> tuple[Prompts, ...]:
        """What is read, in the order of the settings."""

    def steps(self, config: Any) -> int:
        """Optimiser steps of one reading, for whoever wants to know before it is read."""
        return 0

    @abstractmethod
    def read(self, context: InstrumentContext, config: Any) -> tuple[Curve, ...]:
        """The curves of one subject.

        Raises ThreatspecError TS-INSTRUMENT for what only loaded models tell.
        """


INSTRUMENTS: Registry[Instrument] = Registry(
    "instrument",
    "TS-UNKNOWN-NAME",
    (
        "threatspec.instruments.kl_profile",
        "threatspec.instruments.refusal_strength",
        "threatspec.instruments.token_dynamics",
    ),
    group="threatspec.instruments",
    base=Instrument,
)
"""All instruments by kind."""
