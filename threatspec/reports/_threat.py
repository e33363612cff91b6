"""The adversary in plain words."""

from __future__ import annotations

import json

from pydantic import ValidationError

from threatspec.records import Plan
from threatspec.reports._words import access, counted, large
from threatspec.schema import Adversary

__all__ = ["threat"]


def threat(plan: Plan, name: str) -> tuple[tuple[str, str], ...]:
    """Goal, intent, access, data, compute, knowledge; nothing if the plan does not say."""
    adversary = _adversary(plan, name)
    if adversary is None:
        return ()
    knows = adversary.knowledge
    aware = {"aware": "knows", "unaware": "does not know"}
    knowledge = (
        f"{aware[knows.safeguard]} the safeguard; {aware[knows.judge]} how success is judged"
    )
    return (
        ("Goal", adversary.goal),
        ("Intent", "none: ordinary use" if adversary.intent == "none" else adversary.intent),
        ("Access", access(adversary)),
        ("Data", _data(adversary)),
        ("Compute", _compute(adversary)),
        ("Knowledge", knowledge),
    )


def _data(adversary: Adversary) -> str:
    parts = [
        f"up to {source.n} {role.value} rows from {source.source}"
        for role, source in adversary.data.items()
    ]
    return "; ".join(parts) or "no rows to train on"


def _compute(adversary: Adversary) -> str:
    compute = adversary.compute
    parts = []
    if compute.steps is not None:
        parts.append(f"at most {counted(compute.steps, 'optimiser step')} per run")
    if compute.flops is not None:
        parts.append(f"at most {large(compute.flops)} floating-point operations in all")
    return "; ".join(parts) or "not bounded by the claim"


def _adversary(plan: Plan, name: str) -> Adversary | None:
    found = plan.spec.get("adversaries", {}).get(name)
    try:
        return Adversary.model_validate_json(json.dumps(found)) if found else None
    except ValidationError:
        return None  # a plan of another version: the adversary's name has to do
