"""Clipping of gradients: by the norm of all of them, or of each tensor."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from threatspec.training._job import Hyperparameters

__all__ = ["clip_gradients"]


def clip_gradients(
    parameters: Sequence[nn.Parameter], hyper: Hyperparameters
) -> tuple[float, bool]:
    """Clip in place; the global L2 norm before that, and whether anything was clipped."""
    limit = hyper.clip_norm
    if limit is None or hyper.clip == "global":
        norm = nn.utils.clip_grad_norm_(parameters, float("inf") if limit is None else limit)
        return norm.item(), limit is not None and norm.item() > limit
    given = [p for p in parameters if p.grad is not None]
    norms = torch.tensor([nn.utils.clip_grad_norm_([p], limit).item() for p in given])
    return norms.double().norm().item(), bool((norms > limit).any())
