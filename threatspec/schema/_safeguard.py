"""Safeguards of a subject: what somebody does so that an adversary gets nothing out of it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from threatspec.schema._adversary import DataSource
from threatspec.schema._base import Described
from threatspec.schema._fields import Text
from threatspec.schema._units import Count, Flops

__all__ = ["SafeguardBudget", "SafeguardEntry", "SafeguardRole", "SafeguardUse"]

SafeguardRole = Literal["safety", "benign"]
"""What rows are to a safeguard."""


class SafeguardBudget(Described):
    """What fitting a safeguard may take; a safeguard that takes more is refused."""

    steps: Count | None = None
    """Optimiser steps of all its training runs."""
    flops: Flops | None = None
    """Floating-point operations."""


class SafeguardUse(Described):
    """One safeguard of a subject, with overrides of its knobs."""

    kind: Text
    """Name of a safeguard (`threatspec list safeguards`)."""
    fitted: bool = False
    """Whether the model's weights have it already: then nothing is trained, and it only tells which
    adaptive attacks an adversary knows who is aware of it."""
    data: dict[SafeguardRole, DataSource] = Field(default_factory=dict)
    """Its own rows by role: `safety` (restricted requests with an answer and a refusal), `benign`.
    """
    budget: SafeguardBudget = SafeguardBudget()
    """What fitting may take."""
    knobs: dict[str, Any] = Field(default_factory=dict)
    """Overrides; written beside `kind`, each is a knob of the safeguard."""

    @model_validator(mode="before")
    @classmethod
    def _collect(cls, value: Any) -> Any:
        if not isinstance(value, dict) or "knobs" in value:
            return value
        own = {"kind", "fitted", "data", "budget"}
        knobs = {name: given for name, given in value.items() if name not in own}
        return {**{name: value[name] for name in own if name in value}, "knobs": knobs}


def _safeguard(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


SafeguardEntry = Annotated[SafeguardUse, BeforeValidator(_safeguard)]
"""An entry of `safeguards:`; a name alone stands for one without overrides."""
