"""What a claim protects, what it is limited to and who answers for it, as the plan has it."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from threatspec.claims._case import Case
from threatspec.claims._text import listed, plural
from threatspec.records import Plan
from threatspec.schema import Claim, ClaimScope, Governance, Model, Protects

__all__ = ["governance", "limits", "protects", "waivers"]

M = TypeVar("M", bound=Model)
_LIMITS: Mapping[str, Callable[[Any], str]] = {
    "trainer": lambda names: f"trained by {listed(names)}" if names else "",
    "templates": lambda names: f"asked with template {listed(names)}" if names else "",
    "replicates": lambda number: plural(number, "replicate") if number else "",
    "safeguard": lambda what: f"this {what}" if what else "",
    "search": lambda what: f"{what} configurations" if what else "",
    "families": lambda names: f"attacks by {listed(names)}" if names else "",
    "data": lambda what: f"{what} rows" if what else "",
    "elicitations": lambda names: f"elicited by {listed(names)}" if names else "",
    "utility": lambda names: f"utility told by {listed(names)}" if names else "",
    "text": lambda text: text or "",
}
"""Words for each field of a scope."""


def governance(plan: Plan) -> Governance | None:
    """Who answers for the evidence of a campaign."""
    return _read(Governance, plan.spec.get("governance"))


def protects(case: Case) -> Protects | None:
    """What the claim protects: what it says itself, else what the file says."""
    return case.view.claim.protects or _read(Protects, case.view.evidence.plan.spec.get("protects"))


def limits(scope: ClaimScope | None) -> str:
    """What the claim is limited to, to end a sentence with; "" if it is not."""
    if scope is None:
        return ""
    parts = [text for name, words in _LIMITS.items() if (text := words(getattr(scope, name)))]
    return f"; limited to: {'; '.join(parts)}" if parts else ""


def waivers(claim: Claim, at: datetime.date) -> str:
    """Rules that are waived, to end a sentence with; "" if none is."""
    found = [f"{one.rule} by {one.owner} until {one.expires}" for one in claim.waivers
             if not one.expired(at)]  # fmt: skip
    return f"; waived: {'; '.join(found)}" if found else ""


def _read(model: type[M], value: Any) -> M | None:
    return model.model_validate_json(json.dumps(value)) if value else None
