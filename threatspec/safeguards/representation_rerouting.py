"""Safeguard `representation-rerouting`: complying answers lose the hidden states they need.

Source: arXiv 2406.04313 (circuit breakers). A low-rank adapter turns the hidden states of complying
answers to restricted requests orthogonal to what they were, and keeps those of other text; its loss
is in `threatspec/training/objectives/rerouting.py`.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Annotated, Literal

from pydantic import Field

from threatspec.errors import ThreatspecError
from threatspec.records import Spend
from threatspec.safeguards._adapted import (
    AdaptedConfig,
    adapter_size,
    hyperparameters,
    scaled_layers,
)
from threatspec.safeguards.base import (
    SAFEGUARDS,
    Fitted,
    Safeguard,
    SafeguardContext,
    Stage,
    require_rows,
    row_length,
)
from threatspec.subjects import SubjectCard
from threatspec.training import (
    Objective,
    TrainingJob,
    TrainingRow,
    Trajectory,
    forward_flops,
    training_flops,
)

__all__ = ["RepresentationRerouting", "RepresentationReroutingConfig"]

PUBLISHED = (10, 20)
"""Layers of a model of 32 blocks."""


class RepresentationReroutingConfig(AdaptedConfig):
    """Knobs of the adapter and of the loss."""

    alpha: float = Field(default=10.0, gt=0, le=1e6)
    """Sum of both coefficients: the rerouting term begins at alpha and ends near alpha / 2."""
    layers: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """Blocks whose output is rerouted, from 1; absent = those at 10/32 and 20/32 of the depth.
    The adapters of later blocks have no gradient and stay nothing."""
    span: Literal["answer", "all"] = "answer"
    """Which tokens are rerouted: those of the complying answer, or the request's too."""
    nudge: float = Field(default=1e-3, ge=0, le=1)
    """Standard deviation of what is put into the halves of the adapter that begin at 0: where
    nothing has changed the cosine is at its maximum and has no slope. 0 = rounding has to do it."""
    retain_refusals: bool = True
    """Whether refusals of the restricted requests are among the rows to be kept."""

    def rerouted(self, depth: int) -> tuple[int, ...]:
        """The layers in a model of `depth` blocks. Raises ThreatspecError TS-SAFEGUARD."""
        if self.layers and max(self.layers) > depth:
            text = f"layers must be blocks from 1 to {depth}, but {max(self.layers)} is none"
            raise ThreatspecError("TS-SAFEGUARD", text)
        chosen = self.layers or (max(1, layer) for layer in scaled_layers(PUBLISHED, depth))
        return tuple(sorted(set(chosen)))


class RepresentationRerouting(Safeguard):
    """Acts before release only."""

    kind = "representation-rerouting"
    says = "turns hidden states of complying answers away from where they were, and keeps the rest"
    source = "arXiv 2406.04313"
    stages = frozenset({Stage.RELEASE})
    Config = RepresentationReroutingConfig

    def cost(
        self, subject: SubjectCard, config: RepresentationReroutingConfig, rows: int, words: int
    ) -> Spend:
        """Every row goes through the trained model and, forward only, through what it was; blocks
        after the last rerouted one do not run."""
        length = row_length(subject, words)
        tokens = config.steps * (config.safety_rows + config.benign_rows) * length
        size = adapter_size(subject, config.rank)
        trained = training_flops(subject, tokens, length, size)
        share = max(config.rerouted(subject.layers)) / subject.layers
        flops = share * (trained + forward_flops(subject, tokens, length))
        return Spend(steps=config.steps, tokens=2 * tokens, flops=flops)

    def fit(
        self, context: SafeguardContext, config: RepresentationReroutingConfig
    ) -> Generator[TrainingJob, Trajectory, Fitted]:
        """Ask for one run. Raises ThreatspecError TS-SAFEGUARD for rows or layers that miss."""
        require_rows(context, "safety", "benign")
        layers = config.rerouted(context.subject.layers)
        trajectory = yield TrainingJob(
            rows=tuple(context.safety),
            hyperparameters=hyperparameters(config),
            seeds=dict(context.seeds),
            objective=Objective(
                name="rerouting",
                settings={
                    "alpha": config.alpha,
                    "layers": list(layers),
                    "held": config.benign_rows,
                    "span": config.span,
                    "nudge": config.nudge,
                },
                beside=_kept(context, config),
            ),
        )
        return Fitted(tampers=(trajectory.last,))


def _kept(
    context: SafeguardContext, config: RepresentationReroutingConfig
) -> tuple[TrainingRow, ...]:
    """Rows whose hidden states stay."""
    refused = [row.refused for row in context.safety]
    return (*context.benign, *(refused if config.retain_refusals else ()))


SAFEGUARDS.register(RepresentationRerouting.kind, RepresentationRerouting())
