"""Safeguard `refusal-mixing`: the provider trains on refusals of its own beside a customer's rows.

Source: arXiv 2310.03693, the mitigation by mixing safety data into fine-tuning; also the baseline
of arXiv 2402.14968, eleven refusals without a secret prefix.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from threatspec.safeguards.base import (
    SAFEGUARDS,
    Safeguard,
    SafeguardConfig,
    SafeguardContext,
    Stage,
    require_rows,
)
from threatspec.schema import SafeguardRole
from threatspec.training import TrainingPolicy, TrainingRow

__all__ = ["RefusalMixing", "RefusalMixingConfig"]


class RefusalMixingConfig(SafeguardConfig):
    """How often the provider's rows come."""

    copies: int = Field(default=1, ge=1, le=1000)
    """How often each refusal stands among the rows."""


class _Mixed(TrainingPolicy):
    def __init__(self, own: Sequence[TrainingRow]) -> None:
        self._own = own

    def mix(self, rows: Sequence[TrainingRow]) -> Sequence[TrainingRow]:
        return (*rows, *self._own)


class RefusalMixing(Safeguard):
    """Acts while somebody's rows are trained on at the provider."""

    kind = "refusal-mixing"
    says = "trains on refusals of the provider's own beside the rows that a customer hands in"
    source = "arXiv 2310.03693"
    stages = frozenset({Stage.TRAINING})
    Config = RefusalMixingConfig

    def roles(self, config: RefusalMixingConfig) -> tuple[SafeguardRole, ...]:
        """Refusals only."""
        return ("safety",)

    def training_policy(
        self, context: SafeguardContext, config: RefusalMixingConfig, provided: Mapping[str, Any]
    ) -> TrainingPolicy:
        """Rows are added; nothing else of the customer's training changes."""
        require_rows(context, "safety")
        refused = [row.refused for row in context.safety]
        return _Mixed([row for _ in range(config.copies) for row in refused])


SAFEGUARDS.register(RefusalMixing.kind, RefusalMixing())
