"""What a claim protects, who answers for the evidence, and what a claim is limited to."""

from __future__ import annotations

import datetime
import re
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from threatspec.schema._base import Described
from threatspec.schema._fields import Name, Text, as_tuple, complaint
from threatspec.schema._units import Count

__all__ = ["ClaimScope", "Day", "Governance", "Property", "Protects", "Waiver"]

_ISO = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def _day(value: Any) -> Any:
    if isinstance(value, datetime.date):
        return value
    try:
        if isinstance(value, str) and _ISO.fullmatch(value):
            return datetime.date.fromisoformat(value)
    except ValueError:
        pass
    text = f"a day must be a date of the calendar, written YYYY-MM-DD, but got {value!r}"
    raise complaint("day", "TS-WRONG-TYPE", text)


Day = Annotated[
    datetime.date, BeforeValidator(_day), WithJsonSchema({"type": "string", "format": "date"})
]
"""A day, written YYYY-MM-DD."""

Texts = Annotated[tuple[Text, ...], BeforeValidator(as_tuple), Field(min_length=1)]


class Property(StrEnum):
    """What of an asset is to be kept."""

    CONFIDENTIALITY = "confidentiality"
    INTEGRITY = "integrity"
    AVAILABILITY = "availability"
    PROVENANCE = "provenance"


class Protects(Described):
    """What would be harmed if the claim were false: the world outside, or an asset."""

    harm: Texts | None = None
    """Categories of external harm, as text."""
    asset: Text | None = None
    """Something of value, for example `the training data`."""
    property: Property | None = None
    """What of the asset is kept: `confidentiality`, `integrity`, `availability` or
    `provenance`."""

    @model_validator(mode="after")
    def _complete(self) -> Protects:
        if (self.asset is None) != (self.property is None):
            text = "an asset must have its `property`, and a property its `asset`"
            field = "property" if self.asset is None else "asset"
            raise complaint("protects", "TS-MISSING-FIELD", text, field=field)
        if self.harm is None and self.asset is None:
            text = "protects must name `harm`, or an `asset` with its `property`, but names nothing"
            raise complaint("protects", "TS-MISSING-FIELD", text)
        return self


class Governance(Described):
    """Who answers for the evidence, by which rules, and until when it may be relied on."""

    owner: Text | None = None
    """Who answers for the claims and keeps the evidence."""
    standards: Texts | None = None
    """Standards or policies that the claims serve."""
    disclosure: Text | None = None
    """Who is told what, and when."""
    retention: Text | None = None
    """How long the evidence is kept, for example `3 years`."""
    expires: Day | None = None
    """From this day on the evidence supports no claim."""

    def expired(self, at: datetime.date) -> bool:
        """Whether the evidence may no longer be relied on at a day."""
        return self.expires is not None and at >= self.expires


Names = Annotated[tuple[Name, ...], BeforeValidator(as_tuple), Field(min_length=1)]


class ClaimScope(Described):
    """What the claim is limited to; printed in its verdict's scope. It must be what is run."""

    trainer: Texts | None = None
    """Training back-ends of the attacks: `[resident]`. Answers TS-R2."""
    templates: (
        Annotated[tuple[Literal["native", "none"], ...], BeforeValidator(as_tuple),
                  Field(min_length=1)] | None
    ) = None  # fmt: skip
    """Templates that the subject is asked with; those of `serving`. Answers TS-R4."""
    replicates: Annotated[Count, Field(ge=1)] | None = None
    """These replicates and no other seeds; the number that is run. Answers TS-R1."""
    safeguard: Literal["checkpoint"] | None = None
    """`checkpoint`: these weights, not the recipe that made them. Answers TS-R1b."""
    search: Literal["listed"] | None = None
    """`listed`: the listed configurations and no others. Answers TS-R3a."""
    families: Texts | None = None
    """The kinds of attack that are run and no others. Answers TS-R3b."""
    data: Literal["listed"] | None = None
    """`listed`: the listed training rows and no others. Answers TS-R3c."""
    elicitations: Annotated[tuple[Literal["generate", "logprob"], ...], BeforeValidator(as_tuple),
                            Field(min_length=1)] | None = None  # fmt: skip
    """The ways of asking that are used and no others. Answers TS-R5."""
    utility: Names | None = None
    """The measures by which it is told that the subject is of use, and no others. Answers TS-R6."""
    text: Text | None = None
    """Any other limit, in plain words. Answers no rule."""


class Waiver(Described):
    """A rule that is not met and that somebody answers for; printed with the verdict."""

    rule: Annotated[str, Field(pattern=r"^TS-R[0-9][a-z]?$")]
    """Code of the rule (`threatspec list rules`); only rules of sufficiency can be waived."""
    owner: Text
    """Who answers for it."""
    reason: Text
    """Why the claim may be believed without it."""
    expires: Day
    """From this day on the waiver answers nothing."""

    def expired(self, at: datetime.date) -> bool:
        """Whether it answers nothing any more at a day."""
        return at >= self.expires
