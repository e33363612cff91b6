"""Losses that objective `tar` is made of: of tokens, of hidden states, of distributions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from threatspec.subjects._resident import input_device
from threatspec.training._batches import Batch

__all__ = ["answer_logprobs", "apart", "entropy", "evaluating", "mean_loss_of", "states"]

Hidden = tuple[torch.Tensor, ...]
"""Of the embeddings and of every block, each [rows, length, hidden]."""


def _token_losses(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Of every token but the first, [rows, length - 1], nats."""
    predicted, wanted = logits[:, :-1].float(), batch.ids[:, 1:].to(logits.device)
    return nn.functional.cross_entropy(predicted.transpose(1, 2), wanted, reduction="none")


def mean_loss_of(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Weighted mean of the losses of tokens that carry loss, nats."""
    losses = _token_losses(logits, batch)
    weights = batch.weights[:, 1:].to(losses.device)
    return (losses * weights).sum() / weights.sum().clamp_min(1e-12)


def answer_logprobs(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Log-probability of every row's whole answer, [rows], nats."""
    losses = _token_losses(logits, batch)
    return -(losses * (batch.positions[:, 1:] >= 0).to(losses.device)).sum(1)


def entropy(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Of the next token, mean over all tokens of the rows, padding left out; nats."""
    logs = logits.float().log_softmax(-1)
    found = -(logs.exp() * logs).sum(-1)
    return _over_tokens(found, batch)


def apart(hidden: Hidden, before: Hidden, batch: Batch) -> torch.Tensor:
    """L2 distance of hidden states, mean over tokens and layers, padding left out."""
    pairs = zip(hidden, before, strict=True)
    found = [_over_tokens((a - b).float().norm(dim=-1), batch) for a, b in pairs]
    return torch.stack([one.to(found[0].device) for one in found]).mean()


def _over_tokens(values: torch.Tensor, batch: Batch) -> torch.Tensor:
    mask = batch.mask.to(values)
    return (values * mask).sum() / mask.sum()


def states(model: nn.Module, batch: Batch) -> tuple[torch.Tensor, Hidden]:
    """Logits, and hidden states as transformers counts them; virtual tokens are left out."""
    seen = batch.to(input_device(model))
    out = model(
        input_ids=seen.ids, attention_mask=seen.mask, use_cache=False, output_hidden_states=True
    )
    hidden = tuple(state[:, -batch.length :] for state in out.hidden_states)
    return out.logits[:, -batch.length :], hidden


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """No dropout and no gradients while the context lasts."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)
