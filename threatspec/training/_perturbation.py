"""Vectors that are added to hidden states, kept inside a ball around nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from threatspec.subjects._hidden import Change, watched
from threatspec.training._batches import Encoded, collate
from threatspec.training._job import Perturbation
from threatspec.training._loss import logits_of

__all__ = ["mean_norms", "project"]

_BATCH = 64


@torch.no_grad()
def mean_norms(
    model: nn.Module, rows: Sequence[Encoded], layers: Sequence[int], pad: int
) -> dict[int, float]:
    """Mean L2 norm of the hidden states of layers over all tokens of `rows`, padding left out."""
    norms = dict.fromkeys(layers, 0.0)
    for start in range(0, len(rows), _BATCH):
        batch = collate(rows[start : start + _BATCH], pad)
        seen: dict[int, torch.Tensor] = {}
        with watched(model, {layer: _keeping(seen, layer) for layer in layers}):
            logits_of(model, batch)
        for layer, hidden in seen.items():
            norm = hidden.float().norm(dim=-1) * batch.mask.to(hidden.device)
            norms[layer] += float(norm.double().sum())
    tokens = sum(len(row.ids) for row in rows)
    return {layer: total / tokens for layer, total in norms.items()}


def _keeping(seen: dict[int, torch.Tensor], layer: int) -> Change:
    def keep(hidden: torch.Tensor) -> torch.Tensor:
        seen[layer] = hidden
        return hidden

    return keep


@torch.no_grad()
def project(
    vectors: Mapping[int, nn.Parameter], asked: Perturbation, norms: Mapping[int, float]
) -> None:
    """Scale vectors that left their ball back onto it: eps times the mean norm of the layer."""
    for layer, vector in vectors.items():
        radius, norm = asked.eps * norms[layer], float(vector.norm())
        if norm > radius:
            vector.mul_(radius / norm)
