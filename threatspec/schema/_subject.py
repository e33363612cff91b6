"""What a claim is about, what is measured of it, and how it is asked."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from threatspec.schema._base import Described
from threatspec.schema._build import BuildStep, check_build
from threatspec.schema._fields import Name, Text, as_tuple, complaint
from threatspec.schema._units import Count

__all__ = ["Calibration", "JudgeUse", "Measure", "Serving", "Subject"]


class Subject(Described):
    """The model a claim is about: base weights + safeguard."""

    not_evaluated: ClassVar[frozenset[str]] = frozenset({"safeguards"})

    model: Text
    """Where the weights are: `specimen:NAME`, `path:FOLDER`, `gguf:NAME` (fetched by `threatspec
    models fetch NAME`), `hf:REPO@REVISION` or `endpoint:URL#MODEL`."""
    undefended: Text | None = None
    """The same weights without the safeguard: the ceiling of attacks and the base of utility."""
    control: Text | None = None
    """A subject that is safe untouched and must break, which shows that the attack is alive."""
    build: Annotated[tuple[BuildStep, ...], BeforeValidator(as_tuple)] = ()
    """How the subject is made from `model` before anything is asked: adapted to tasks, merged."""
    build_seed: int = Field(default=0, ge=0)
    """Seed of everything random in `build`."""

    @model_validator(mode="after")
    def _fits(self) -> Subject:
        check_build(self.build)
        return self


def _judge(value: Any) -> Any:
    return {"use": value} if isinstance(value, str) else value


class JudgeUse(Described):
    """A judge by name, with its settings."""

    use: Text
    """Name of a judge (`threatspec list judges`)."""
    any_of: Annotated[tuple[Text, ...], BeforeValidator(as_tuple)] = ()
    """For `keywords`: words or phrases that make the answer `yes`."""


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

    not_evaluated: ClassVar[frozenset[str]] = frozenset({"query", "aggregation", "unit"})

    benchmark: Text
    """Name of a benchmark (`threatspec list benchmarks`), or `file:PATH.jsonl` with a card."""
    judge: Annotated[JudgeUse, BeforeValidator(_judge)]
    """Decides whether one response counts: a name, or a mapping with `use`."""
    split: Literal["attack_train", "attack_dev", "test"] = "test"
    """Which prompts are read."""
    span: Literal["continuation", "all"] = "continuation"
    """What the judge sees: the subject's own words, or attacker-written words as well."""
    cluster: Literal["any", "all"] = "any"
    """When a cluster of prompts counts as `yes`: if any of its prompts is, or only if all are."""
    calibration: Annotated[tuple[Calibration, ...], BeforeValidator(as_tuple)] = ()
    """How the judge errs, by family of attacks; absent = its labels are audited, or not known."""
    by: tuple[Name, ...] = ()
    """Keys of slices that the report shows one by one, for example `[category]`."""


class Serving(Described):
    """How the subject is asked; not part of a measure's identity."""

    not_evaluated: ClassVar[frozenset[str]] = frozenset({"bos", "temperature", "top_p", "samples"})

    template: Literal["native", "none"] = "native"
    """`native`: the model's own chat template; `none`: the bare prompt."""
    system: str | None = Field(default=None, max_length=4000)
    """System prompt; absent = the template's own default."""
    decoding: Literal["greedy"] = "greedy"
    """How tokens are chosen."""
    max_tokens: Annotated[Count, Field(ge=1, le=4096)] = 16
    """Most tokens of one reply."""
