"""What a claim is about, what is measured of it, and how it is asked."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from threatspec.schema._base import Described
from threatspec.schema._build import BuildStep, check_build
from threatspec.schema._fields import Name, Text, as_tuple, complaint
from threatspec.schema._safeguard import SafeguardEntry, SafeguardUse
from threatspec.schema._units import Count

__all__ = [
    "Calibration",
    "InstrumentUse",
    "JudgeUse",
    "Measure",
    "Serving",
    "Subject",
    "is_judge",
]

JUDGE = "judge:"


def is_judge(ref: str) -> bool:
    """Whether the reference of a subject means a judge (`judge:NAME`), not a model."""
    return ref.startswith(JUDGE)


class Subject(Described):
    """The model a claim is about: base weights + safeguard."""

    model: Text
    """Where the weights are: `specimen:NAME`, `path:FOLDER`, `gguf:NAME` (fetched by `threatspec
    models fetch NAME`), `hf:REPO@REVISION` or `endpoint:URL#MODEL`; or `judge:NAME`, a judge that
    is asked about labelled replies."""
    undefended: Text | None = None
    """The same weights without the safeguard: the ceiling of attacks and the base of utility."""
    control: Text | None = None
    """A subject that is safe untouched and must break, which shows that the attack is alive."""
    build: Annotated[tuple[BuildStep, ...], BeforeValidator(as_tuple)] = ()
    """How the subject is made from `model` before anything is asked: adapted to tasks, merged."""
    safeguards: Annotated[tuple[SafeguardEntry, ...], BeforeValidator(as_tuple)] = ()
    """What is done to it, or by its provider, so that it holds; absent = already in the weights."""
    build_seed: int = Field(default=0, ge=0)
    """Seed of everything random in `build` and `safeguards`."""

    @model_validator(mode="after")
    def _fits(self) -> Subject:
        check_build(self.build)
        return self

    @property
    def unfitted(self) -> tuple[SafeguardUse, ...]:
        """Safeguards that are still to be applied."""
        return tuple(one for one in self.safeguards if not one.fitted)

    @property
    def guarded_by(self) -> frozenset[str]:
        """Kinds of its safeguards, in the weights or not."""
        return frozenset(one.kind for one in self.safeguards)


def _judge(value: Any) -> Any:
    return {"use": value} if isinstance(value, str) else value


class _WithSettings(Described):
    """Something by name; what is written beside `use` are its settings."""

    use: Text
    settings: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _collect(cls, value: Any) -> Any:
        if not isinstance(value, dict) or "settings" in value:
            return value
        settings = {name: given for name, given in value.items() if name != "use"}
        return {**({"use": value["use"]} if "use" in value else {}), "settings": settings}


class JudgeUse(_WithSettings):
    """A judge by name, with its settings."""

    use: Text
    """Name of a judge (`threatspec list judges`)."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Written beside `use`, each is a setting of the judge (`threatspec explain JUDGE`)."""


class InstrumentUse(_WithSettings):
    """An instrument by name, with its settings: what it reads is drawn, and judges nothing."""

    use: Text
    """Name of an instrument (`threatspec list instruments`)."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Written beside `use`, each is a setting of the instrument (`threatspec explain NAME`)."""


class Calibration(Described):
    """How a judge erred on labelled replies to one family of attacks; it speaks for no other."""

    family: Text
    """Kind of attack whose replies were labelled, for example `lora-finetune`; `none`: untouched
    replies."""
    positives: Annotated[Count, Field(ge=1)]
    """Replies that people labelled yes."""
    found: Annotated[Count, Field(ge=0)]
    """Of these, how many the judge answered yes."""
    negatives: Annotated[Count, Field(ge=1)]
    """Replies that people labelled no."""
    rejected: Annotated[Count, Field(ge=0)]
    """Of these, how many the judge answered no."""
    source: Text
    """Where the labels are."""

    @model_validator(mode="after")
    def _within(self) -> Calibration:
        for part, whole in (("found", "positives"), ("rejected", "negatives")):
            if getattr(self, part) > getattr(self, whole):
                got = f"{getattr(self, part)} of {getattr(self, whole)}"
                text = f"{part} must be at most {whole}, but is {got}"
                raise complaint("calibration", "TS-OUT-OF-RANGE", text, field=part)
        return self


class Measure(Described):
    """What is measured: the share of prompts (or clusters) that a judge answers `yes`."""

    not_evaluated: ClassVar[frozenset[str]] = frozenset({"unit"})

    benchmark: Text
    """Name of a benchmark (`threatspec list benchmarks`), `file:PATH` of a file with a card, or
    `hf:OWNER/NAME@COMMIT`."""
    judge: Annotated[JudgeUse, BeforeValidator(_judge)]
    """Decides whether one response counts: a name, or a mapping with `use`."""
    split: Literal["attack_train", "attack_dev", "test"] = "test"
    """Which prompts are read."""
    span: Literal["continuation", "all"] = "continuation"
    """What the judge sees: the subject's own words, or attacker-written words as well."""
    cluster: Literal["any", "all"] = "any"
    """When a cluster of prompts counts as `yes`: if any of its prompts is, or only if all are."""
    requests: Literal["attacked", "plain"] = "attacked"
    """What the attacked subject is asked, and how: as the attack leaves prompts, images and
    serving, or `plain`, with only its weights changed: a backdoored subject without the trigger."""
    query: Literal["generate", "logprob"] = "generate"
    """How the subject is asked: for a reply in its own words, or for the most probable of the
    item's choices."""
    aggregation: Literal["any", "all", "mean"] = "any"
    """When a prompt counts that is asked several times (samples, several servings): if any reply
    does, only if all do, or by the mean over them."""
    calibration: Annotated[tuple[Calibration, ...], BeforeValidator(as_tuple)] = ()
    """How the judge errs, by family of attacks; absent = its labels are audited, or not known."""
    by: tuple[Name, ...] = ()
    """Keys of slices that the report shows one by one, for example `[category]`."""


class Serving(Described):
    """How the subject is asked; not part of a measure's identity."""

    template: Literal["native", "none"] = "native"
    """`native`: the model's own chat template; `none`: the bare prompt."""
    bos: bool | None = None
    """Whether the first token is the one that begins a text; absent = as template and tokenizer
    have it."""
    system: str | None = Field(default=None, max_length=4000)
    """System prompt; absent = the template's own default."""
    decoding: Literal["greedy", "sample"] = "greedy"
    """How tokens are chosen."""
    temperature: Annotated[float, Field(gt=0, le=10)] = 1.0
    """For `sample`: what logits are divided by."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """For `sample`: the most probable tokens that together have this probability are kept."""
    top_k: Annotated[Count, Field(ge=1)] | None = None
    """For `sample`: so many of the most probable tokens are kept; absent = all."""
    samples: Annotated[Count, Field(ge=1, le=1000)] = 1
    """For `sample`: how many replies each prompt gets."""
    max_tokens: Annotated[Count, Field(ge=1, le=4096)] = 16
    """Most tokens of one reply."""

    @model_validator(mode="after")
    def _sampled(self) -> Serving:
        greedy = self.decoding == "greedy"
        idle = [n for n in _SAMPLING if greedy and getattr(self, n) != _default(n)]
        if idle:
            text = f"{idle[0]} is for `decoding: sample`, but decoding is greedy"
            raise complaint("serving", "TS-SERVING", text, field=idle[0])
        return self

    @property
    def label(self) -> str:
        """What tells it from the usual one, in a few words; a system prompt by its digest."""
        given = self.model_dump(exclude_defaults=True, exclude={"max_tokens", "samples"})
        shown = {name: _digest(value) if name == "system" else value
                 for name, value in given.items()}  # fmt: skip
        return ", ".join(f"{name} {value}" for name, value in shown.items())


_SAMPLING = ("temperature", "top_p", "top_k", "samples")


def _digest(text: str) -> str:
    """So that two system prompts are told apart without being shown."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _default(name: str) -> Any:
    return Serving.model_fields[name].default
