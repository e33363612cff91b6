"""What is claimed: predicates, seeds, confidence, expectation."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from threatspec.schema._base import Described
from threatspec.schema._fields import ClaimId, Name, PredicateText, Text, complaint, later
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

    rule: Annotated[Literal["each"], later("quantile", "mean")] = "each"
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
        raise complaint("not_evaluated", "TS-NOT-EVALUATED", text)
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
    quantifier: Annotated[Literal["every"], later("some", "each", "mean"), Field(alias="for")] = (
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
