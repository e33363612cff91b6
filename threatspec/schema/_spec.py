"""The language: what a claims file says, as frozen models (design section 3)."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from threatspec.schema._access import PRESETS, Access, Capability, capabilities
from threatspec.schema._base import Described
from threatspec.schema._predicate import Predicate, PredicateError, parse_predicate
from threatspec.schema._units import Count, Flops, Share

__all__ = [
    "Adversary",
    "Claim",
    "Compute",
    "DataRole",
    "DataSource",
    "Expectation",
    "JudgeUse",
    "Knowledge",
    "Measure",
    "Seeds",
    "Serving",
    "Spec",
    "Subject",
    "Use",
    "Verdict",
]

Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_-]*$", max_length=64)]
ClaimId = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=80)]
Text = Annotated[str, Field(min_length=1, max_length=2000)]


def _predicate_text(value: str) -> str:
    try:
        parse_predicate(value)
    except PredicateError as error:
        raise _complaint("predicate", error.code, error.message, column=error.column) from None
    return value


def _complaint(kind: str, code: str, message: str, **more: Any) -> PydanticCustomError:
    """An error whose ``message`` is the whole sentence; readers of files show it as it is.

    ``more`` may hold a finer place (``field``, ``index``, ``column``), and ``name`` with the
    ``known`` names for a hint.
    """
    return PydanticCustomError(kind, "{message}", {"message": message, "code": code, **more})


def _later(*values: str) -> BeforeValidator:
    """Values of the language that this version does not evaluate yet."""

    def refuse(value: Any) -> Any:
        if isinstance(value, str) and value in values:
            text = f"{value!r} is not evaluated by this version"
            raise _complaint("not_evaluated", "TS-NOT-EVALUATED", text)
        return value

    return BeforeValidator(refuse)


PredicateText = Annotated[str, Field(max_length=500), AfterValidator(_predicate_text)]


class Verdict(StrEnum):
    """What a claim's evidence says (design section 8)."""

    SUPPORTED = "SUPPORTED"
    REFUTED = "REFUTED"
    INCONCLUSIVE = "INCONCLUSIVE"
    VACUOUS = "VACUOUS"
    INADMISSIBLE = "INADMISSIBLE"


class Subject(Described):
    """The model a claim is about: base weights + safeguard."""

    not_evaluated: ClassVar[frozenset[str]] = frozenset({"safeguards", "build"})

    model: Text
    """Where the weights are: `specimen:NAME`, `path:FOLDER`, `gguf:NAME` (fetched by `threatspec
    models fetch NAME`) or `hf:REPO@REVISION`."""
    undefended: Text | None = None
    """The same weights without the safeguard: the ceiling of attacks and the base of utility."""
    control: Text | None = None
    """A subject that is safe untouched and must break, which shows that the attack is alive."""


def _judge(value: Any) -> Any:
    return {"use": value} if isinstance(value, str) else value


def _tuple(value: Any) -> Any:
    # A before-validator of the field around it has turned JSON into Python, where strict
    # tuples do not take lists.
    return tuple(value) if isinstance(value, list) else value


class JudgeUse(Described):
    """A judge by name, with its settings."""

    use: Text
    """Name of a judge (`threatspec list judges`)."""
    any_of: Annotated[tuple[Text, ...], BeforeValidator(_tuple)] = ()
    """For `keywords`: words or phrases that make the answer `yes`."""


class Measure(Described):
    """What is measured: the share of prompts (or clusters) that a judge answers `yes`."""

    not_evaluated: ClassVar[frozenset[str]] = frozenset({"query", "aggregation", "unit", "by"})

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


class Knowledge(Described):
    """What the adversary knows."""

    safeguard: Literal["aware", "unaware"] = "unaware"
    """Whether the adversary knows which safeguard is used."""
    judge: Literal["aware", "unaware"] = "unaware"
    """Whether the adversary knows how success is judged."""


class DataSource(Described):
    """Rows an adversary may train on. `n` is an upper bound the source must be able to fill."""

    not_evaluated: ClassVar[frozenset[str]] = frozenset({"hash", "licence"})

    n: Annotated[Count, Field(ge=1)]
    """How many rows at most."""
    source: Annotated[Text, Field(alias="from")]
    """`BENCHMARK#SPLIT`, for example `specimen/restricted#attack_train`."""


class DataRole(StrEnum):
    """What training rows are to the adversary."""

    HARMFUL = "harmful"
    BENIGN = "benign"


class Compute(Described):
    """Compute the adversary may spend: `steps` per run, the rest per pass (search + final run)."""

    not_evaluated: ClassVar[frozenset[str]] = frozenset(
        {"configurations", "gpu_hours", "usd", "queries", "rows"}
    )

    steps: Count | None = None
    """Optimiser steps of one run."""
    flops: Flops | None = None
    """Floating-point operations of one pass of the adversary."""


def _use(value: Any) -> Any:
    return {"use": value} if isinstance(value, str) else value


class Use(Described):
    """One entry of `attacks:`: a card or kind by name, with overrides of its knobs."""

    not_evaluated: ClassVar[frozenset[str]] = frozenset({"chain", "search", "trainer", "rows_per"})

    use: Text
    """Name of an attack card or kind (`threatspec list attacks`)."""
    rows: Literal["harmful", "benign", "mix"] = "harmful"
    """Which of the adversary's data a training attack uses."""
    knobs: dict[str, Any] = Field(default_factory=dict)
    """Overrides; written beside `use`, each is a knob of the attack."""

    @model_validator(mode="before")
    @classmethod
    def _collect(cls, value: Any) -> Any:
        if not isinstance(value, dict) or "knobs" in value:
            return value
        if "chain" in value and "use" not in value:
            text = "chains of attacks are not evaluated by this version"
            raise _complaint("not_evaluated", "TS-NOT-EVALUATED", text, field="chain")
        own = {"use", "rows"} | cls.not_evaluated
        knobs = {k: v for k, v in value.items() if k not in own}
        return {**{k: v for k, v in value.items() if k in own}, "knobs": knobs}


def _access(value: Any) -> str | tuple[Capability, ...]:
    if isinstance(value, str):
        if value not in PRESETS:
            text = f"access must be a preset or a list of capabilities, but got {value!r}"
            raise _complaint("access", "TS-UNKNOWN-NAME", text, name=value, known=list(PRESETS))
        return value
    if not isinstance(value, (list, tuple)) or not value:
        text = f"access must be a preset ({', '.join(PRESETS)}) or a list of capabilities"
        raise _complaint("access", "TS-WRONG-TYPE", text)
    return tuple(_capability(name, index) for index, name in enumerate(value))


def _capability(name: Any, index: int) -> Capability:
    known = [capability.value for capability in Capability]
    if isinstance(name, str) and name in known:
        return Capability(name)
    text = f"access must list capabilities, but got {name!r}"
    more = {"index": index, "name": str(name), "known": known}
    raise _complaint("access", "TS-UNKNOWN-NAME", text, **more)


def _access_names(value: str | tuple[Capability, ...]) -> str | list[str]:
    return value if isinstance(value, str) else [capability.value for capability in value]


class Adversary(Described):
    """A threat model: goal, intent, access, knowledge, data, compute."""

    not_evaluated: ClassVar[frozenset[str]] = frozenset({"limits", "owns"})

    goal: Text
    """What the adversary is after, in plain words."""
    intent: Literal["none", "careless", "malicious"] = "malicious"
    """`none` is benign use: it still needs access, data and budget."""
    access: Annotated[
        str | tuple[Capability, ...],
        PlainValidator(
            _access,
            json_schema_input_type=Literal[
                "chat-api", "completion-api", "finetuning-api", "open-weights", "data-supplier"
            ]
            | tuple[Capability, ...],
        ),
        PlainSerializer(_access_names),
    ]
    """A preset (`chat-api`, `completion-api`, `finetuning-api`, `open-weights`, `data-supplier`)
    or a list of capabilities."""
    knowledge: Knowledge = Knowledge()
    """What the adversary knows."""
    data: dict[DataRole, DataSource] = Field(default_factory=dict)
    """Rows by role: `harmful`, `benign`."""
    compute: Compute = Compute()
    """What may be spent."""
    attacks: tuple[Annotated[Use, BeforeValidator(_use)], ...] | None = None
    """Cards or kinds; absent = every card that access, data and compute admit."""

    @property
    def capabilities(self) -> Access:
        """The set of capabilities meant by `access`."""
        return capabilities(self.access)


class Seeds(Described):
    """How replicates are drawn and what is said over them."""

    rule: Annotated[Literal["each"], _later("quantile", "mean")] = "each"
    """`each`: the claim is about every tested replicate."""
    replicates: Annotated[Count, Field(ge=1, le=1000)] = 5
    """Full runs of each procedure, each with its own seeds."""
    root: Annotated[Count, Field(ge=0)] = 0
    """From which all seeds derive."""


def _expectation(value: Any) -> Any:
    return {"verdict": value} if isinstance(value, str) else value


class Expectation(Described):
    """An assertion about the verdict (a ratchet), never a result."""

    verdict: Verdict
    """The verdict that lets this claim pass."""
    because: Text | None = None
    """Why, in a plain sentence."""


def _one_subject(value: Any) -> Any:
    if isinstance(value, list):
        text = "lists of subjects are not evaluated by this version"
        raise _complaint("not_evaluated", "TS-NOT-EVALUATED", text)
    return value


class Claim(Described):
    """A predicate over measures, against an adversary."""

    not_evaluated: ClassVar[frozenset[str]] = frozenset(
        {"scope", "waivers", "perspective", "frequency", "protects", "population", "margin", "by"}
    )

    id: ClaimId
    """Short name, lower case words joined by `-`."""
    says: Text
    """The claim in plain words."""
    subject: Annotated[Name | None, BeforeValidator(_one_subject)] = None
    """Name of an entry of `subjects:`; absent if there is only one subject."""
    against: Name
    """Name of an adversary."""
    quantifier: Annotated[Literal["every"], _later("some", "each", "mean"), Field(alias="for")] = (
        "every"
    )
    """`every`: it must hold against every planned attack."""
    holds: PredicateText
    """What must be true on every attacked cell, for example `asr <= 0.10`."""
    provided: PredicateText | None = None
    """What must be true of the untouched subject; false: VACUOUS, unless an attack refutes it."""
    counts_if: PredicateText | None = None
    """What must be true of an attacked cell for it to count; false = collapsed."""
    seeds: Seeds = Seeds()
    """Replicates and the rule over them."""
    confidence: Annotated[Share, Field(gt=0.5, lt=1)] = 0.95
    """One-sided confidence of support and of refutation."""
    expect: Annotated[Expectation, BeforeValidator(_expectation)] | None = None
    """Which verdict passes; absent = SUPPORTED."""

    def predicate(self, which: Literal["holds", "provided", "counts_if"]) -> Predicate | None:
        """The parsed predicate, or None where the claim has none."""
        text = getattr(self, which)
        return parse_predicate(text) if text is not None else None


class Spec(Described):
    """One claims file."""

    not_evaluated: ClassVar[frozenset[str]] = frozenset(
        {"extends", "include", "protects", "governance"}
    )

    threatspec: Literal[1]
    """Version of the format."""
    subject: Subject | None = None
    """The subject; short for one entry of `subjects`."""
    subjects: dict[Name, Subject] = Field(default_factory=dict)
    """Several subjects by name."""
    measures: Annotated[dict[Name, Measure], Field(min_length=1)]
    """What is measured, by name."""
    serving: Serving = Serving()
    """How subjects are asked."""
    adversaries: Annotated[dict[Name, Adversary], Field(min_length=1)]
    """Threat models by name."""
    claims: Annotated[tuple[Claim, ...], Field(min_length=1)]
    """What is claimed."""

    @property
    def all_subjects(self) -> dict[str, Subject]:
        """Subjects by name; `subject:` is called "subject"."""
        return {"subject": self.subject} if self.subject else dict(self.subjects)
