"""Weights of token losses of constrained fine-tuning, and the objective that they are from."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

__all__ = ["constrained_loss", "constrained_weights"]


def constrained_weights(
    token_loss: torch.Tensor,
    positions: torch.Tensor,
    reference: torch.Tensor,
    betas: Sequence[float],
    clamp: float | None = None,
) -> torch.Tensor:
    """2 sigmoid(beta (log p_ref - log p)), without gradient; 1 outside answers.

    Args:
        token_loss: [batch, length], -log p of the token, nats.
        positions: [batch, length], index of the token within the answer, -1 outside.
        reference: [batch, length], log p_ref of the token, nats.
        betas: by position; the last is that of all later tokens.
        clamp: smallest weight, if there is one.

    Returns: [batch, length].
    """
    gap = reference + token_loss.detach()
    weights = 2 * torch.sigmoid(_betas(positions, betas).to(gap) * gap)
    if clamp is not None:
        weights = weights.clamp_min(clamp)
    return torch.where(positions < 0, torch.ones_like(weights), weights)


def constrained_loss(
    log_probabilities: torch.Tensor,
    positions: torch.Tensor,
    reference: torch.Tensor,
    betas: Sequence[float],
) -> torch.Tensor:
    """The objective word for word: sum of (2 / beta) softplus(beta (log p_ref - log p)) over the
    tokens of answers. Training takes the weights instead; tests hold one against the other."""
    beta = _betas(positions, betas).to(reference)
    losses = 2 / beta * nn.functional.softplus(beta * (reference - log_probabilities))
    return losses[positions >= 0].sum()


def _betas(positions: torch.Tensor, betas: Sequence[float]) -> torch.Tensor:
    table = torch.tensor(betas, device=positions.device)
    return table[positions.clamp(0, len(betas) - 1)]
