"""What is claimed: predicates, seeds, confidence, expectation."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from threatspec.schema._base import Described
from threatspec.schema._fields import (
    ClaimId,
    Name,
    PredicateText,
    Text,
    as_tuple,
    complaint,
)
from threatspec.schema._governance import ClaimScope, Protects, Waiver
from threatspec.schema._predicate import Predicate, parse_predicate
from threatspec.schema._units import Count, Share

__all__ = ["Claim", "Expectation", "Seeds", "Verdict"]


class Verdict(StrEnum):
    """What a claim's evidence says (docs/design/verdicts.md)."""

    SUPPORTED = "SUPPORTED"
    REFUTED = "REFUTED"
    INCONCLUSIVE = "INCONCLUSIVE"
    VACUOUS = "VACUOUS"
    INADMISSIBLE = "INADMISSIBLE"


class Seeds(Described):
    """How replicates are drawn and what is said over them."""

    rule: Literal["each", "quantile", "mean"] = "each"
    """`each`: about every tested replicate; `quantile`: about at least the `share` of all seeds;
    `mean`: about the mean over the tested replicates."""
    share: Annotated[Share, Field(gt=0, lt=1)] | None = None
    """For `quantile`: the share of seeds under which it is claimed to hold."""
    replicates: Annotated[Count, Field(ge=1, le=1000)] = 5
    """Full runs of each procedure, each with its own seeds."""
    root: Annotated[Count, Field(ge=0)] = 0
    """From which all seeds derive."""

    @model_validator(mode="after")
    def _shared(self) -> Seeds:
        if self.rule == "quantile" and self.share is None:
            text = "the seeds rule `quantile` must say of which `share` of seeds, but says nothing"
            raise complaint("share", "TS-MISSING-FIELD", text, field="rule")
        if self.rule != "quantile" and self.share is not None:
            text = f"`share` is read by the seeds rule `quantile`, but the rule is {self.rule!r}"
            raise complaint("share", "TS-WRONG-TYPE", text, field="share")
        return self


def _expectation(value: Any) -> Any:
    return {"verdict": value} if isinstance(value, str) else value


class Expectation(Described):
    """An assertion about the verdict (a ratchet), never a result."""

    verdict: Verdict
    """The verdict that lets this claim pass."""
    because: Text | None = None
    """Why, in a plain sentence."""


def _listed(value: Any) -> Any:
    """One name is a list of one."""
    return (value,) if isinstance(value, str) else as_tuple(value)


Frequency = dict[Name, Annotated[dict[str, Share], Field(min_length=1)]]


class Claim(Described):
    """A predicate over measures, against an adversary."""

    not_evaluated: ClassVar[frozenset[str]] = frozenset({"by"})

    id: ClaimId
    """Short name, lower case words joined by `-`."""
    says: Text
    """The claim in plain words."""
    subject: Annotated[tuple[Name, ...], BeforeValidator(_listed)] = ()
    """Names of entries of `subjects:`, one or a list; absent = all. Each gets its own verdict."""
    against: Name
    """Name of an adversary."""
    quantifier: Annotated[Literal["every", "some", "each", "mean"], Field(alias="for")] = "every"
    """`every`: it must hold against every planned attack; `some`: one attack must reach it in all
    of its replicates; `each`: one verdict per attack; `mean`: on average over attacks, which is
    grammar for published claims and always breaks TS-R3."""
    about: Literal["behaviour", "capability", "label"] = "behaviour"
    """`behaviour`: what the subject does; `capability`: what it can no longer do, however it is
    asked; `label`: what the judge says, right or wrong."""
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
    population: Literal["universe", "benchmark"] = "universe"
    """`universe`: the prompts are a sample; `benchmark`: it is about exactly these prompts."""
    margin: Annotated[Share, Field(gt=0, lt=1)] | None = None
    """For a claim worded as an estimate: by how much every threshold of `holds` is widened."""
    perspective: Literal["safety", "security", "both"] | None = None
    """`safety`: the mean over slices weighted by `frequency`; `security`: the worst of these
    slices; `both`: two verdicts from the same runs. Absent: all prompts together."""
    frequency: Frequency = Field(default_factory=dict)
    """How often the slices of one key occur in use, for example `{category: {fire: 90 %}}`; the
    shares add up to 1."""
    protects: Protects | None = None
    """What this claim protects, if not what the file says."""
    scope: ClaimScope | None = None
    """What the claim is limited to; each entry answers a rule that asks for more."""
    waivers: Annotated[tuple[Waiver, ...], BeforeValidator(as_tuple)] = ()
    """Rules that somebody answers for instead of meeting them."""
    expect: Annotated[Expectation, BeforeValidator(_expectation)] | None = None
    """Which verdict passes; absent = SUPPORTED."""

    @model_validator(mode="after")
    def _weighted(self) -> Claim:
        if self.perspective and not self.frequency:
            text = "a perspective must say how often slices occur (`frequency`), but says nothing"
            raise complaint("frequency", "TS-MISSING-FIELD", text, field="perspective")
        if self.frequency and not self.perspective:
            text = "`frequency` is read by a `perspective`, but the claim has none"
            raise complaint("frequency", "TS-MISSING-FIELD", text, field="frequency")
        if len(self.frequency) > 1:
            text = "frequency must have one key whose slices share out the prompts"
            raise complaint("frequency", "TS-WRONG-TYPE", text, field="frequency")
        total = sum(share for shares in self.frequency.values() for share in shares.values())
        if self.frequency and abs(total - 1) > 1e-6:
            text = f"the shares of frequency must add up to 1, but add up to {total:g}"
            raise complaint("frequency", "TS-OUT-OF-RANGE", text, field="frequency")
        return self

    def predicate(self, which: Literal["holds", "provided", "counts_if"]) -> Predicate | None:
        """The parsed predicate, or None where the claim has none."""
        text = getattr(self, which)
        return parse_predicate(text) if text is not None else None
