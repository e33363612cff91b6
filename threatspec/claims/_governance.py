"""What a claim protects and until when its evidence may be relied on, as the plan has it."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from threatspec.claims._case import Case
from threatspec.claims._evidence import Evidence
from threatspec.claims._words import listed
from threatspec.records import Plan
from threatspec.schema import ClaimScope, Governance, Model, Protects

__all__ = ["expiry", "governance", "limits", "protects"]

M = TypeVar("M", bound=Model)


def governance(plan: Plan) -> Governance | None:
    """Who answers for the evidence of a campaign."""
    return _read(Governance, plan.spec.get("governance"))


def protects(case: Case) -> Protects | None:
    """What the claim protects: what it says itself, else what the file says."""
    return case.view.claim.protects or _read(Protects, case.view.evidence.plan.spec.get("protects"))


def expiry(evidence: Evidence) -> str:
    """Why the evidence supports nothing any more at the time of the verdict; "" if it does."""
    found = governance(evidence.plan)
    if found is None or not found.expired(evidence.at):
        return ""
    return f"the evidence expired on {found.expires}"


def limits(scope: ClaimScope | None) -> str:
    """What the claim is limited to, to end a sentence with; "" if it is not."""
    if scope is None:
        return ""
    parts = [f"trained by {listed(scope.trainer)}"] if scope.trainer else []
    parts += [f"asked with template {listed(scope.templates)}"] if scope.templates else []
    parts += [scope.text] if scope.text else []
    return f"; limited to: {'; '.join(parts)}" if parts else ""


def _read(model: type[M], value: Any) -> M | None:
    return model.model_validate_json(json.dumps(value)) if value else None
