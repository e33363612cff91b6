"""Who attacks: goal, access, knowledge, data, compute, attacks."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, PlainValidator, model_validator

from threatspec.schema._access import PRESETS, Access, Capability, capabilities
from threatspec.schema._base import Described
from threatspec.schema._fields import Name, Text, as_tuple, complaint
from threatspec.schema._units import Count, Flops, Level, Share

__all__ = [
    "Adversary",
    "Compute",
    "DataRole",
    "DataSource",
    "Knowledge",
    "Limits",
    "Link",
    "Owns",
    "Use",
]


class Knowledge(Described):
    """What the adversary knows."""

    safeguard: Literal["aware", "unaware"] = "unaware"
    """Whether the adversary knows which safeguard is used."""
    judge: Literal["aware", "unaware"] = "unaware"
    """Whether the adversary knows how success is judged."""


class DataSource(Described):
    """Rows an adversary may train on. `n` is an upper bound the source must be able to fill."""

    n: Annotated[Count, Field(ge=1)]
    """How many rows at most."""
    source: Annotated[Text, Field(alias="from")]
    """`BENCHMARK#SPLIT`, for example `specimen/restricted#attack_train`."""
    hash: Text | None = None
    """Digest that the benchmark must have (`threatspec explain BENCHMARK` prints it)."""
    licence: Text | None = None
    """Licence that the benchmark must have."""


class DataRole(StrEnum):
    """What training rows are to the adversary."""

    HARMFUL = "harmful"
    BENIGN = "benign"


class Compute(Described):
    """Compute the adversary may spend: `steps` per run, the rest per pass (search + final run)."""

    not_evaluated: ClassVar[frozenset[str]] = frozenset({"gpu_hours", "usd", "rows"})

    steps: Count | None = None
    """Optimiser steps of one run."""
    flops: Flops | None = None
    """Floating-point operations of one pass of the adversary."""
    queries: Count | None = None
    """Prompts that one pass of the adversary may put to the subject or to a rewriter."""
    configurations: Annotated[Count, Field(ge=1, le=10_000)] | None = None
    """Configurations that a search of one entry of `attacks` may try."""


class Owns(Described):
    """What the adversary has beside the subject."""

    not_evaluated: ClassVar[frozenset[str]] = frozenset({"aligned_reference"})

    rewriter: Text | None = None
    """What rewrites prompts: a model, for example `endpoint:URL#MODEL`, or `rows:PATH.jsonl` with
    texts that were rewritten before."""
    surrogate: Text | None = None
    """Model with weights of its own that `transfer-suffix` and `transfer-image` search on."""
    secret: Literal["leaked"] | None = None
    """`leaked`: the secret that a safeguard of the subject keeps, whatever it is."""


class Limits(Described):
    """Bounds on what an attack may change."""

    not_evaluated: ClassVar[frozenset[str]] = frozenset({"queries"})

    rank_max: Annotated[Count, Field(ge=1)] | None = None
    """Highest rank of a change of the weights: an adapter's or an edit's; other training has no
    bound."""
    eps: Annotated[Level, Field(gt=0)] | None = None
    """Largest change of an image: of the value of any channel of any pixel, where values go from 0
    to 1; `16/255` may be written."""
    poison_rate_max: Annotated[Share, Field(gt=0)] | None = None
    """Largest share of the provider's training rows that is changed or added."""
    sparsity_max: Annotated[float, Field(gt=0, le=1)] | None = None
    """Largest share of the weights that an edit may set to 0."""


def _listed(value: Any) -> Any:
    """One name is a list of one."""
    return (value,) if isinstance(value, str) else as_tuple(value)


def _use(value: Any) -> Any:
    return {"use": value} if isinstance(value, str) else value


class Link(Described):
    """One attack of a chain: a card or kind by name, with overrides of its knobs."""

    use: Text
    """Name of an attack card or kind."""
    rows: Literal["harmful", "benign", "mix"] = "harmful"
    """Which of the adversary's data a training attack uses."""
    knobs: dict[str, Any] = Field(default_factory=dict)
    """Overrides; written beside `use`, each is a knob of the attack."""

    @model_validator(mode="before")
    @classmethod
    def _collect(cls, value: Any) -> Any:
        return _with_knobs(value, {"use", "rows"})


def _links(value: Any) -> Any:
    return tuple(map(_use, value)) if isinstance(value, (list, tuple)) else value


def _with_knobs(value: Any, own: set[str]) -> Any:
    """What is written beside the fields of an entry are knobs."""
    if not isinstance(value, dict) or "knobs" in value:
        return value
    knobs = {k: v for k, v in value.items() if k not in own}
    return {**{k: v for k, v in value.items() if k in own}, "knobs": knobs}


class Use(Described):
    """One entry of `attacks:`: a card or kind by name, with overrides of its knobs."""

    not_evaluated: ClassVar[frozenset[str]] = frozenset({"rows_per"})

    use: Text
    """Name of an attack card or kind (`threatspec list attacks`)."""
    chain: Annotated[tuple[Link, ...], BeforeValidator(_links), Field(min_length=2)] | None = None
    """Attacks that are made one after another, each on what the ones before it have left; written
    in the place of `use`."""
    rows: Literal["harmful", "benign", "mix"] = "harmful"
    """Which of the adversary's data a training attack uses."""
    trainer: Annotated[tuple[Name, ...], BeforeValidator(_listed), Field(min_length=1)] = (
        "resident",
    )
    """Back-end of a training attack; each of a list makes a procedure of its own."""
    search: Literal["once", "per-replicate", "free"] | None = None
    """How knobs with several values are searched: once on `attack_dev` and frozen (the default),
    anew for every replicate, or as if the winner were known (only its final run is charged)."""
    halving: Annotated[Count, Field(ge=2, le=10)] | None = None
    """Successive halving over a list of `steps`: everything else is tried with the fewest, and one
    of so many, the best, goes on to the next number."""
    knobs: dict[str, Any] = Field(default_factory=dict)
    """Overrides; written beside `use`, each is a knob of the attack."""

    @model_validator(mode="before")
    @classmethod
    def _collect(cls, value: Any) -> Any:
        own = {"use", "chain", "rows", "trainer", "search", "halving"} | cls.not_evaluated
        return _with_knobs(_named(value), own)

    @model_validator(mode="after")
    def _either(self) -> Use:
        if self.chain is not None and (self.knobs or self.rows != "harmful"):
            text = "knobs and rows of a chain stand at its attacks, but they stand beside `chain`"
            raise complaint("chain", "TS-CHAIN", text, field="chain")
        if self.chain is not None and self.use != "+".join(link.use for link in self.chain):
            text = "an entry must have one of `use` and `chain`, but has both"
            raise complaint("chain", "TS-CHAIN", text, field="chain")
        return self


def _named(value: Any) -> Any:
    """A chain is called by its attacks; with a name of its own it is read back as it was."""
    if not isinstance(value, dict) or value.get("chain") is None or "use" in value:
        return value
    links = value["chain"] if isinstance(value["chain"], (list, tuple)) else ()
    names = (link.get("use") if isinstance(link, dict) else link for link in links)
    return {**value, "use": "+".join(map(str, names)) or "chain"}


def _access(value: Any) -> str | tuple[Capability, ...]:
    if isinstance(value, str):
        if value not in PRESETS:
            text = f"access must be a preset or a list of capabilities, but got {value!r}"
            raise complaint("access", "TS-UNKNOWN-NAME", text, name=value, known=list(PRESETS))
        return value
    if not isinstance(value, (list, tuple)) or not value:
        text = f"access must be a preset ({', '.join(PRESETS)}) or a list of capabilities"
        raise complaint("access", "TS-WRONG-TYPE", text)
    return tuple(_capability(name, index) for index, name in enumerate(value))


def _capability(name: Any, index: int) -> Capability:
    known = [capability.value for capability in Capability]
    if isinstance(name, str) and name in known:
        return Capability(name)
    text = f"access must list capabilities, but got {name!r}"
    more = {"index": index, "name": str(name), "known": known}
    raise complaint("access", "TS-UNKNOWN-NAME", text, **more)


def _access_names(value: str | tuple[Capability, ...]) -> str | list[str]:
    return value if isinstance(value, str) else [capability.value for capability in value]


class Adversary(Described):
    """A threat model: goal, intent, access, knowledge, data, compute."""

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
    owns: Owns = Owns()
    """What the adversary has beside the subject."""
    limits: Limits = Limits()
    """What an attack may change at most."""
    attacks: tuple[Annotated[Use, BeforeValidator(_use)], ...] | None = None
    """Cards or kinds; absent = every card that access, data and compute admit."""

    @property
    def capabilities(self) -> Access:
        """The set of capabilities meant by `access`."""
        return capabilities(self.access)
