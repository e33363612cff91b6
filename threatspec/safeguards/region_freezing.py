"""Safeguard `region-freezing`: a customer's training leaves alone what refusals depend on most.

Source: arXiv 2402.05162, the top-q% safety entries held at their values during fine-tuning, with
SNIP scores on restricted requests with refusals. There it is a probe of whether freezing would
help; here a provider does it.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any, Literal

from pydantic import Field

from threatspec.records import Spend
from threatspec.safeguards._held import HeldPolicy
from threatspec.safeguards.base import (
    SAFEGUARDS,
    Answer,
    Ask,
    Fitted,
    Safeguard,
    SafeguardConfig,
    SafeguardContext,
    Stage,
    require_rows,
    row_length,
)
from threatspec.schema import SafeguardRole
from threatspec.subjects import SubjectCard
from threatspec.training import MaskRequest, ScoreOn, ScoreRequest, TrainingPolicy
from threatspec.training.regions import score_flops

__all__ = ["RegionFreezing", "RegionFreezingConfig"]


class RegionFreezingConfig(SafeguardConfig):
    """Knobs of what is held."""

    share: float = Field(default=0.1, gt=0, lt=1)
    """Share of the matrices of attention and MLP that is held, highest safety scores first."""
    scope: Literal["global", "tensor", "row"] = "row"
    """Within what scores are compared: all matrices, one, or what leads to one output."""


class RegionFreezing(Safeguard):
    """Acts while somebody's rows are trained on at the provider."""

    kind = "region-freezing"
    says = "holds the weights with the highest safety scores while customers train"
    source = "arXiv 2402.05162"
    stages = frozenset({Stage.TRAINING})
    Config = RegionFreezingConfig

    def roles(self, config: RegionFreezingConfig) -> tuple[SafeguardRole, ...]:
        """Restricted requests with refusals, which are scored."""
        return ("safety",)

    def cost(
        self, subject: SubjectCard, config: RegionFreezingConfig, rows: int, words: int
    ) -> Spend:
        """Of scoring every row once, as long as the longest."""
        length = row_length(subject, words)
        flops = score_flops(subject, rows, length, "snip")
        return Spend(tokens=rows * length, flops=flops)

    def fit(
        self, context: SafeguardContext, config: RegionFreezingConfig
    ) -> Generator[Ask, Answer, Fitted]:
        """Ask for scores on refusals, and for the mask of the highest."""
        require_rows(context, "safety")
        scores = yield ScoreOn(
            request=ScoreRequest(method="snip", over="safety"), safety=tuple(context.safety)
        )
        held = yield MaskRequest(
            method="top-score", source=scores, share=config.share, scope=config.scope
        )
        return Fitted(provided={"artefact": held.artefact, "held": held.chosen})

    def training_policy(
        self, context: SafeguardContext, config: RegionFreezingConfig, provided: Mapping[str, Any]
    ) -> TrainingPolicy:
        """The region is held."""
        return HeldPolicy(provided["artefact"])


SAFEGUARDS.register(RegionFreezing.kind, RegionFreezing())
