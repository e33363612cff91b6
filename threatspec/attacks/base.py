"""What an attack is. An attack never owns a training loop: it asks for training.

One file per attack, parts in the same order: config, cost, class, registration.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Self

from threatspec.errors import ThreatspecError
from threatspec.records import Spend, Stream
from threatspec.registry import Registry
from threatspec.schema import Access, Capability, DataRole, Described, Owns, listed_values
from threatspec.subjects import Offer, Request, SubjectCard, Tamper
from threatspec.training import (
    EditRequest,
    MaskRequest,
    ScoreRequest,
    SuffixRequest,
    TrainingJob,
    TrainingRow,
)
from threatspec.training.classifiers import ClassifierJob, PatchRequest, SubnetRequest
from threatspec.training.pixels import PerturbationRequest

__all__ = [
    "ATTACKS",
    "Answer",
    "Ask",
    "Attack",
    "AttackConfig",
    "AttackContext",
    "DataCard",
    "Mounted",
    "PromptAttack",
    "Surface",
]


@dataclass(frozen=True, slots=True)
class Mounted:
    """Have what was done so far in place for whatever is asked next."""

    tampers: tuple[Tamper, ...]


Ask = (
    TrainingJob
    | MaskRequest
    | EditRequest
    | Mounted
    | SuffixRequest
    | ClassifierJob
    | SubnetRequest
    | PatchRequest
    | PerturbationRequest
)
"""What an attack may ask its runner for."""
Answer = Any
"""What the runner answers: Trajectory, Mask, Edited, Suffix, Perturbed or TriggerPatch, by the type
of `Ask`."""


class Surface(StrEnum):
    """Where an attack acts; chains run in this order."""

    TRAINING_DATA = "training_data"
    WEIGHTS = "weights"
    SERVING = "serving"
    REQUEST = "request"
    PIXELS = "pixels"


class AttackConfig(Described):
    """Knobs of an attack; units in the descriptions."""

    def settled(self, rows: int) -> Self:
        """The same with everything said that follows from how many rows there are."""
        return self

    def owning(self, owns: Owns) -> Self:
        """The same with what the adversary has beside the subject, where a knob is filled by it."""
        return self

    @property
    def item_texts(self) -> frozenset[str]:
        """Which of `answer` and `refusal` every prompt that is asked must have."""
        return frozenset()

    @property
    def leaked(self) -> bool:
        """Whether it is told the secret of the subject's safeguard, which the adversary owns."""
        return False

    @property
    def needs(self) -> Access:
        """Capabilities that these knobs take beyond those of the attack."""
        return frozenset()

    @property
    def runs(self) -> tuple[int, ...]:
        """Optimiser steps of each training run that it asks for, in order; none: it trains none."""
        return ()

    @property
    def sparsity(self) -> float | None:
        """Upper bound of the share of weights that an edit sets to 0; None: it sets none."""
        return None

    @property
    def image_change(self) -> float | None:
        """Bound of the change of an image, per channel of a pixel (0 to 1), that limits are held
        against; None: it changes none."""
        return None

    @property
    def poisoned_share(self) -> float | None:
        """Share of the provider's rows that it changes or adds; None: it touches none."""
        return None

    @property
    def change_rank(self) -> int | None:
        """Upper bound of the rank of a change of one matrix; None: not bounded."""
        return None


@dataclass(frozen=True, slots=True)
class DataCard:
    """What is known of the adversary's rows before anything runs."""

    rows: int
    words: int
    """Words of the longest row, prompt and answer together."""


def _unheard(warning: str) -> None:
    """Nobody listens."""


def _no_probabilities(requests: Sequence[Request], artefact: str | None) -> Any:
    raise ThreatspecError("TS-ACCESS", "the subject must be a classifier, but is none")


@dataclass(frozen=True, slots=True)
class AttackContext:
    """What an attack is given when it runs."""

    subject: SubjectCard
    rows: tuple[TrainingRow, ...]
    """The adversary's rows, already drawn by the `data_subset` stream."""
    seeds: Mapping[Stream, int]
    benign: tuple[TrainingRow, ...] = ()
    """Of `rows`, those of the role `benign`; for recipes that tell roles apart."""
    harmful: tuple[TrainingRow, ...] = ()
    """Of `rows`, those of the role `harmful`."""
    scores: tuple[str, ...] = ()
    """Artefacts of what `Attack.scores` asks for, in its order."""
    reads: Mapping[str, str] = field(default_factory=dict)
    """What `Attack.reads` said when the trial was planned."""
    probabilities: Callable[[Sequence[Request], str | None], Any] = _no_probabilities
    """Of a classifier: class probabilities (requests x classes) of its weights as they are now, or
    with an artefact's in their place."""
    warn: Callable[[str], None] = _unheard
    """Told what weakens the attack without failing it, with a code in front (`TS-POISON: ...`)."""
    secret: str = ""
    """Of the subject's safeguard, if it leaked (`AttackConfig.leaked`); empty: there is none."""
    folder: Path = Path()
    """Where relative files of the spec are looked for."""


class Attack(ABC):
    """One move an adversary may make."""

    kind: ClassVar[str]
    """Name in the registry and in YAML."""
    says: ClassVar[str]
    """What it does, in one plain sentence."""
    needs: ClassVar[tuple[Access, ...]]
    """Sets of capabilities, any one of which is enough; an empty set needs nothing."""
    offers: ClassVar[frozenset[Offer]] = frozenset({Offer.TEXT})
    """What the subject must offer."""
    surface: ClassVar[Surface]
    streams: ClassVar[frozenset[Stream]] = frozenset()
    """Sources of randomness; none = deterministic, one replicate."""
    uses_rows: ClassVar[bool] = False
    """Whether it trains on the adversary's rows."""
    trainers: ClassVar[tuple[str, ...]] = ("resident", "transformers")
    """Back-ends that can train it; the first is the usual one."""
    Config: ClassVar[type[AttackConfig]]

    def streams_of(self, config: Any) -> frozenset[Stream]:
        """Those of `streams` that move something with these knobs; none = one replicate."""
        return self.streams

    def scores(self, config: Any) -> tuple[ScoreRequest, ...]:
        """Scores that `run` reads; each is a trial of its own, shared by all that ask for it."""
        return ()

    def listed(self, knobs: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
        """Knobs that are given a list where a single value is meant, with its values."""
        return listed_values(self.Config, knobs)

    def reads(self, config: Any, folder: Path) -> dict[str, str]:
        """Digests of files and models that knobs name, which are looked for in `folder`.

        Raises ThreatspecError for what is not there.
        """
        return {}

    def fits(self, subject: SubjectCard, config: Any, rows: int) -> None:  # noqa: B027
        """Look at what `check` can know of a run on `rows` rows: classes, sizes, numbers.

        Raises ThreatspecError where every run would end with that error.
        """

    def roles(self, config: Any) -> tuple[DataRole, ...] | None:
        """Roles of the adversary's data that it reads; None: those of the entry's `rows`."""
        return None

    @abstractmethod
    def cost(self, subject: SubjectCard, config: Any, data: DataCard | None) -> Spend:
        """Predicted spend of one run, before anything runs."""

    @abstractmethod
    def run(
        self, context: AttackContext, config: Any
    ) -> Generator[Ask, Answer, tuple[Tamper, ...]]:
        """Ask for what is needed; return the tampers, in the order of application."""


class PromptAttack(Attack):
    """An attack that asks its runner for nothing: what it leaves follows from its knobs."""

    needs: ClassVar[tuple[Access, ...]] = (frozenset({Capability.CHAT}),)
    surface = Surface.REQUEST

    def cost(self, subject: SubjectCard, config: Any, data: DataCard | None) -> Spend:
        """Nothing: asking the test prompts, and rewriting them for it, is not charged."""
        return Spend()

    @abstractmethod
    def tamper(self, config: Any, reads: Mapping[str, str]) -> Tamper:
        """What it leaves: other requests, or other servings.

        Args:
            reads: what `Attack.reads` said when the trial was planned.
        """

    def run(
        self, context: AttackContext, config: Any
    ) -> Generator[Ask, Answer, tuple[Tamper, ...]]:
        """Ask for nothing; leave the tamper."""
        return (self.tamper(config, context.reads),)
        yield  # pragma: no cover - makes this a generator


ATTACKS: Registry[Attack] = Registry(
    "attack",
    "TS-UNKNOWN-ATTACK",
    (
        "threatspec.attacks.actsvd",
        "threatspec.attacks.adapter_finetune",
        "threatspec.attacks.data_backdoor",
        "threatspec.attacks.decoding_exploit",
        "threatspec.attacks.finetuned_backdoor",
        "threatspec.attacks.freeze_finetune",
        "threatspec.attacks.full_finetune",
        "threatspec.attacks.gcg_suffix",
        "threatspec.attacks.hosted_finetune",
        "threatspec.attacks.image_control",
        "threatspec.attacks.image_perturbation",
        "threatspec.attacks.label_shift_backdoor",
        "threatspec.attacks.least_safety",
        "threatspec.attacks.lora_finetune",
        "threatspec.attacks.lota_finetune",
        "threatspec.attacks.multi_turn",
        "threatspec.attacks.mutation",
        "threatspec.attacks.none",
        "threatspec.attacks.orthogonal_projection",
        "threatspec.attacks.perturbation",
        "threatspec.attacks.prefill",
        "threatspec.attacks.probe_heads",
        "threatspec.attacks.random_prune",
        "threatspec.attacks.random_suffix",
        "threatspec.attacks.refusal_direction",
        "threatspec.attacks.serving_exploit",
        "threatspec.attacks.set_difference",
        "threatspec.attacks.snip_prune",
        "threatspec.attacks.subnet_replacement",
        "threatspec.attacks.suffix",
        "threatspec.attacks.transfer_image",
        "threatspec.attacks.transfer_suffix",
        "threatspec.attacks.trojan_nn",
        "threatspec.attacks.wanda_prune",
        "threatspec.attacks.weight_noise",
    ),
    group="threatspec.attacks",
    base=Attack,
)
"""All attacks by kind."""
