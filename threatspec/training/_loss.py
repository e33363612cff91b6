"""The loss of a batch, and how much of it is due to which token."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from threatspec.subjects._resident import input_device
from threatspec.training._batches import Batch, Encoded, collate
from threatspec.training._policy import TrainingPolicy

__all__ = ["batch_loss", "logits_of", "mean_loss"]

_PROBE_BATCH = 64


def logits_of(model: nn.Module, batch: Batch) -> torch.Tensor:
    """Logits of all positions of a batch, [rows, length, vocabulary].

    Adapters that write virtual tokens before the row have logits there too, which are left out.
    """
    seen = batch.to(input_device(model))
    if seen.places is None:
        found = model(input_ids=seen.ids, attention_mask=seen.mask, use_cache=False).logits
    else:
        found = model(input_ids=seen.ids, position_ids=seen.places, use_cache=False).logits
    logits: torch.Tensor = found[:, -batch.length :]
    return logits


def batch_loss(
    model: nn.Module, batch: Batch, policy: TrainingPolicy, total: float | None = None
) -> torch.Tensor:
    """Weighted mean of the token losses: sum of weight x loss over sum of weights, nats.

    `total` is the sum of weights of the whole batch where `batch` is a part of it: the losses of
    the parts then add up to that of the whole.
    """
    logits = logits_of(model, batch)
    batch = batch.to(logits.device)  # a model that is laid over devices ends on another one
    predicted, wanted = logits[:, :-1], batch.ids[:, 1:]
    weights, positions = batch.weights[:, 1:], batch.positions[:, 1:]
    token_loss = nn.functional.cross_entropy(
        predicted.reshape(-1, predicted.shape[-1]).float(), wanted.reshape(-1), reduction="none"
    ).view_as(weights)
    reference = None if batch.reference is None else batch.reference[:, 1:]
    imposed = policy.token_weights(token_loss * (weights > 0), positions, reference)
    loss = (token_loss * weights * (1 if imposed is None else imposed)).sum()
    share = weights.sum() if total is None else torch.tensor(total, device=loss.device)
    return loss / share.clamp_min(1e-12)


@torch.no_grad()
def mean_loss(model: nn.Module, rows: Sequence[Encoded], pad: int) -> float:
    """Mean loss per token with loss over all rows, nats."""
    total = tokens = 0.0
    for start in range(0, len(rows), _PROBE_BATCH):
        batch = collate(rows[start : start + _PROBE_BATCH], pad)
        total += batch_loss(model, batch, TrainingPolicy()).item() * batch.loss_weight
        tokens += batch.loss_weight
    return round(total / max(tokens, 1e-12), 6)
