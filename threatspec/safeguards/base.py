"""What a safeguard is: any of four stages, each of which may be absent.

One file per safeguard, parts in the same order: config, class, registration. A safeguard never owns
a training loop: like an attack it asks for training.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar

from threatspec.errors import ThreatspecError
from threatspec.records import Spend, Stream
from threatspec.registry import Registry
from threatspec.schema import Described, SafeguardRole
from threatspec.subjects import Offer, Request, ServingPolicy, SubjectCard, WeightTamper
from threatspec.training import (
    EditRequest,
    MaskRequest,
    ScoreOn,
    TrainingJob,
    TrainingPolicy,
    TrainingRow,
)
from threatspec.training.classifiers import ClassifierJob, PruneRequest
from threatspec.training.denoisers import DenoiserJob

__all__ = [
    "SAFEGUARDS",
    "Fitted",
    "Safeguard",
    "SafeguardConfig",
    "SafeguardContext",
    "Stage",
    "require_rows",
    "row_length",
]

Ask = TrainingJob | MaskRequest | EditRequest | ScoreOn | ClassifierJob | PruneRequest | DenoiserJob
"""What a safeguard may ask its runner for."""
Answer = Any
"""What the runner answers: Trajectory, Mask, Edited, a name of scores, and so on by the type of
`Ask`."""


class Stage(StrEnum):
    """When a safeguard acts; several of one subject follow one another in this order."""

    RELEASE = "release"
    """Before release: in the weights."""
    TRAINING = "training"
    """While somebody's rows are trained on at the provider."""
    REPAIR = "repair"
    """After others had their hands on the weights: fitted on what they left, without knowing
    whether they left anything."""
    SERVING = "serving"
    """While the provider answers."""


class SafeguardConfig(Described):
    """Settings of a safeguard; units in the descriptions."""


def _no_tokens(text: str) -> list[int]:
    raise ThreatspecError("TS-SAFEGUARD", "the subject must have a tokenizer, but has none here")


def _no_text(ids: Sequence[int]) -> str:
    raise ThreatspecError("TS-SAFEGUARD", "the subject must have a tokenizer, but has none here")


def _unheard(warning: str) -> None:
    """Nobody listens."""


def _no_probabilities(requests: Sequence[Request], artefact: str | None) -> Any:
    raise ThreatspecError("TS-SAFEGUARD", "the subject must be a classifier, but is none")


def _no_view(system: str | None, prompt: str) -> list[int]:
    raise ThreatspecError("TS-SAFEGUARD", "the subject must have a template, but has none here")


def _no_artefact(name: str) -> Mapping[str, Any]:
    raise ThreatspecError("TS-SAFEGUARD", f"artefact {name} must be there, but no store is")


@dataclass(frozen=True, slots=True)
class SafeguardContext:
    """What a safeguard works with."""

    subject: SubjectCard
    safety: Sequence[TrainingRow]
    """Restricted requests with a complying answer and a refusal."""
    benign: Sequence[TrainingRow]
    seeds: Mapping[Stream, int]
    tokens: Callable[[str], list[int]] = _no_tokens
    """Token ids of bare text."""
    text: Callable[[Sequence[int]], str] = _no_text
    """Text of token ids."""
    rendered: Callable[[str | None, str], list[int]] = _no_view
    """Token ids that the subject sees of a system prompt and a turn of the user."""
    probabilities: Callable[[Sequence[Request], str | None], Any] = _no_probabilities
    """Of a classifier: class probabilities (requests x classes) of its weights as they are now, or
    with an artefact's in their place."""
    load: Callable[[str], Mapping[str, Any]] = _no_artefact
    """Tensors of an artefact that it provided, by its name."""
    warn: Callable[[str], None] = _unheard
    """Told what weakens the safeguard without failing it, with a code in front."""
    folder: Path = Path()
    """Where files that knobs name are looked for."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """What is there once a safeguard was fitted."""

    tampers: tuple[WeightTamper, ...] = ()
    """The safeguarded weights, in the order in which they are mounted."""
    provided: Mapping[str, Any] = field(default_factory=dict)
    """Plain data that its policies are made of; an artefact among them is called `artefact`, or all
    of them together `artefacts`, so that they are kept and shipped."""


class Safeguard(ABC):
    """A defence that is trained into the weights, imposed on training, or applied when serving."""

    kind: ClassVar[str]
    """Name in the registry and in YAML."""
    says: ClassVar[str]
    """What it does, in one plain sentence."""
    stages: ClassVar[frozenset[Stage]]
    """When it acts."""
    source: ClassVar[str] = "own"
    """Work that it is from."""
    offers: ClassVar[frozenset[Offer]] = frozenset({Offer.TEXT})
    """What the subject must offer."""
    Config: ClassVar[type[SafeguardConfig]]

    def roles(self, config: Any) -> tuple[SafeguardRole, ...]:
        """Which of its own rows it reads."""
        return ("safety", "benign")

    def reads(self, config: Any, folder: Path) -> dict[str, str]:
        """Digests of files and models that knobs name, which are looked for in `folder`.

        Raises ThreatspecError for what is not there.
        """
        return {}

    def cost(self, subject: SubjectCard, config: Any, rows: int, words: int) -> Spend:
        """Predicted spend of fitting: `rows` rows of at most `words` words.

        Raises ThreatspecError for knobs that this subject cannot take.
        """
        return Spend()

    def fit(self, context: SafeguardContext, config: Any) -> Generator[Ask, Answer, Fitted]:
        """Before anybody attacks: ask for training, return what came of it."""
        return Fitted()
        yield  # pragma: no cover - makes this a generator

    def repair(self, context: SafeguardContext, config: Any) -> Generator[Ask, Answer, Fitted]:
        """On the subject as an attack has left it, or as it is untouched, which nobody tells apart
        here: ask for training, return what came of it."""
        return Fitted()
        yield  # pragma: no cover - makes this a generator

    def training_policy(
        self, context: SafeguardContext, config: Any, provided: Mapping[str, Any]
    ) -> TrainingPolicy | None:
        """What the provider imposes on fine-tuning; None: nothing."""
        return None

    def serving_policy(
        self, context: SafeguardContext, config: Any, provided: Mapping[str, Any]
    ) -> ServingPolicy | None:
        """What the provider does with requests; None: nothing."""
        return None


def row_length(subject: SubjectCard, words: int) -> int:
    """Tokens of a row of `words` words with its template, for predictions."""
    return min(subject.context, round(words * subject.tokens_per_word) + subject.template_tokens)


def require_rows(context: SafeguardContext, *roles: SafeguardRole) -> None:
    """Raises ThreatspecError TS-SAFEGUARD for rows that are not there or have no refusal."""
    for role in roles:
        rows = context.safety if role == "safety" else context.benign
        if not rows:
            text = f"a safeguard must have {role} rows, but has none; write `data: {{{role}: ...}}`"
            raise ThreatspecError("TS-SAFEGUARD", text)
    if "safety" in roles:
        bare = [row.id for row in context.safety if not row.refusal.strip()]
        if bare:
            text = f"safety rows must have a refusal, but {bare[0]} has none"
            raise ThreatspecError("TS-SAFEGUARD", text)


SAFEGUARDS: Registry[Safeguard] = Registry(
    "safeguard",
    "TS-UNKNOWN-NAME",
    (
        "threatspec.safeguards.backdoor_align",
        "threatspec.safeguards.badexpert",
        "threatspec.safeguards.constrained_sft",
        "threatspec.safeguards.fine_pruning",
        "threatspec.safeguards.image_purifier",
        "threatspec.safeguards.latent_adversarial_training",
        "threatspec.safeguards.lotto",
        "threatspec.safeguards.moderation_gate",
        "threatspec.safeguards.ptst",
        "threatspec.safeguards.recovery_augmentation",
        "threatspec.safeguards.refusal_mixing",
        "threatspec.safeguards.refusal_training",
        "threatspec.safeguards.region_freezing",
        "threatspec.safeguards.repnoise",
        "threatspec.safeguards.representation_rerouting",
        "threatspec.safeguards.strip",
        "threatspec.safeguards.tar",
    ),
    group="threatspec.safeguards",
    base=Safeguard,
)
"""All safeguards by kind."""
