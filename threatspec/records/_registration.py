"""What was written down before the first measured row, and how often a claim was run before."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import Field

from threatspec.records._plan import Plan
from threatspec.schema import Model, content_id

__all__ = ["REGISTER", "Registration", "claim_digests", "register"]

REGISTER = "registrations.jsonl"
"""Beside the results folders: one line per campaign that was begun there."""
_SCHEMA = "threatspec/registrations/v1"


class Registration(Model):
    """When a plan was frozen, and which claims it froze; empty where nothing is known of that."""

    plan: str = ""
    """Id of the plan that was frozen."""
    claims: dict[str, str] = Field(default_factory=dict)
    """Digest of each claim, by its id."""
    runs: dict[str, int] = Field(default_factory=dict)
    """How many campaigns of each claim were begun in this place, this one included."""
    frozen_at: float = 0.0
    """Seconds since the epoch; 0 if it is not recorded."""
    first_row_at: float = 0.0
    """When the first trial that asked a subject began; 0 if none has."""


def claim_digests(plan: Plan) -> dict[str, str]:
    """Digest of each planned claim with its adversary and measures: what must not change."""
    return {planned.id: _digest(plan, planned.id) for planned in plan.claims}


def _digest(plan: Plan, name: str) -> str:
    planned = next(one for one in plan.claims if one.id == name)
    adversary = (plan.spec.get("adversaries") or {}).get(planned.claim.against)
    rest = [plan.spec.get("measures"), plan.spec.get("serving")]
    return content_id("claim", [planned.claim, planned.models, adversary, *rest])


def register(place: Path, plan: Plan) -> dict[str, int]:
    """Enter a campaign in the register of `place`; how often each of its claims is there now.

    Nothing where the register cannot be read or written: a campaign does not fail for its counter.
    """
    digests = claim_digests(plan)
    line = {"schema": _SCHEMA, "plan": plan.id, "claims": digests}
    try:
        known = [digest for entry in _entries(place / REGISTER) for digest in entry]
        with (place / REGISTER).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, sort_keys=True) + "\n")
    except OSError:
        return {}
    return {name: known.count(digest) + 1 for name, digest in digests.items()}


def _entries(path: Path) -> Iterator[list[str]]:
    """Digests of each campaign; a line that cannot be read is none."""
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        claims = entry.get("claims") if isinstance(entry, Mapping) else None
        if isinstance(claims, Mapping):
            yield [str(digest) for digest in claims.values()]
