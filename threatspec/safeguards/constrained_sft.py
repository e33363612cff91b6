"""Safeguard `constrained-sft`: the provider's objective keeps first tokens near where they were.

Source: arXiv 2406.05946, token-wise constrained fine-tuning. With the log-ratio
d_t = log p_ref(y_t | x, y_<t) - log p(y_t | x, y_<t) the loss is the sum over tokens of
(2 / beta_t) softplus(beta_t d_t), whose gradient is that of cross-entropy with each token weighted
by w_t = 2 sigmoid(beta_t d_t). The reference are the weights that training starts from, so that
every weight is 1 at first; beta to 0 is cross-entropy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from threatspec.errors import ThreatspecError
from threatspec.safeguards.base import (
    SAFEGUARDS,
    Safeguard,
    SafeguardConfig,
    SafeguardContext,
    Stage,
)
from threatspec.schema import SafeguardRole
from threatspec.training import TrainingPolicy

if TYPE_CHECKING:
    import torch

    from threatspec.records import ArtefactStore
    from threatspec.subjects._resident import ResidentSubject
    from threatspec.training._batches import Encoded

__all__ = ["ConstrainedSft", "ConstrainedSftConfig"]

Beta = Annotated[float, Field(gt=0, le=100)]


class ConstrainedSftConfig(SafeguardConfig):
    """How strongly each token of an answer is held, by its place."""

    beta_first: Beta = 0.5
    """Of the first token, per nat of the log-ratio."""
    beta_early: Beta = 2.0
    """Of the tokens after it up to `early`."""
    beta_late: Beta = 0.1
    """Of all later tokens."""
    early: Annotated[int, Field(ge=1, le=10_000)] = 5
    """Tokens of an answer that are early, the first among them."""
    betas: tuple[Beta, ...] | None = Field(default=None, min_length=1)
    """All betas by place, in place of the four knobs above; the last is that of all later tokens.
    """
    clamp: float | None = Field(default=None, gt=0, lt=1)
    """Weights of tokens are at least this; absent = as the formula has it. The official code has
    0.001, which the formula has not."""

    @property
    def by_place(self) -> tuple[float, ...]:
        """Beta of each token; the last is that of all later ones."""
        if self.betas is not None:
            return self.betas
        return (self.beta_first, *[self.beta_early] * (self.early - 1), self.beta_late)


class _Constrained(TrainingPolicy):
    def __init__(self, config: ConstrainedSftConfig) -> None:
        self._betas, self._clamp = config.by_place, config.clamp

    def begin(
        self, subject: ResidentSubject, rows: Sequence[Encoded], store: ArtefactStore
    ) -> Sequence[Encoded]:
        from threatspec.safeguards._references import compared

        return compared(subject, rows, store)

    def token_weights(
        self, token_loss: torch.Tensor, positions: torch.Tensor, reference: torch.Tensor | None
    ) -> torch.Tensor:
        from threatspec.safeguards._constrained import constrained_weights

        if reference is None:
            text = f"rows must have log-probabilities to be compared with for {self.name}, but "
            raise ThreatspecError("TS-SAFEGUARD", f"{text}have none; train with `resident`")
        return constrained_weights(token_loss, positions, reference, self._betas, self._clamp)


class ConstrainedSft(Safeguard):
    """Acts while somebody's rows are trained on at the provider."""

    kind = "constrained-sft"
    says = "trains on a customer's rows with an objective that holds the first tokens of answers"
    source = "arXiv 2406.05946"
    stages = frozenset({Stage.TRAINING})
    Config = ConstrainedSftConfig

    def roles(self, config: ConstrainedSftConfig) -> tuple[SafeguardRole, ...]:
        """No rows of its own."""
        return ()

    def training_policy(
        self, context: SafeguardContext, config: ConstrainedSftConfig, provided: Mapping[str, Any]
    ) -> TrainingPolicy:
        """Token losses are weighted; rows, optimiser and rate stay the customer's."""
        return _Constrained(config)


SAFEGUARDS.register(ConstrainedSft.kind, ConstrainedSft())
