"""Losses and gradients by position of an answer, of weights as they stand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from threatspec.errors import ThreatspecError
from threatspec.subjects._resident import ResidentSubject
from threatspec.training import TrainingRow
from threatspec.training._batches import Batch, collate, encode
from threatspec.training._loss import logits_of

__all__ = ["gradient_norms", "token_losses"]


@torch.no_grad()
def token_losses(
    subject: ResidentSubject, rows: Sequence[TrainingRow], tokens: int, micro_batch: int
) -> list[list[float]]:
    """-log p of each of the first `tokens` tokens of every answer, in nats; its end counts too."""
    found: list[list[float]] = []
    for batch in _batches(subject, rows, micro_batch):
        losses, positions = _losses(subject.model, batch)
        for own, place in zip(losses, positions, strict=True):
            found.append(own[(place >= 0) & (place < tokens)].tolist())
    return found


def gradient_norms(
    subject: ResidentSubject, rows: Sequence[TrainingRow], positions: int, micro_batch: int
) -> list[float]:
    """At each of the first `positions`: the L2 norm, over all weights, of the gradient of the mean
    loss there (of the rows that have it). The weights stay as they are."""
    batches = list(_batches(subject, rows, micro_batch))
    with _free(subject.model) as parameters:
        return [_norm(subject.model, batches, parameters, k) for k in range(positions)]


def _batches(
    subject: ResidentSubject, rows: Sequence[TrainingRow], micro_batch: int
) -> Iterator[Batch]:
    encoded = encode(subject, rows)
    for start in range(0, len(encoded), micro_batch):
        yield collate(encoded[start : start + micro_batch], subject.end)


def _losses(model: nn.Module, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss of predicting each token but the first, and its position in the answer; both
    [rows, length - 1]."""
    logits = logits_of(model, batch)[:, :-1]
    batch = batch.to(logits.device)
    wanted = batch.ids[:, 1:]
    losses = nn.functional.cross_entropy(
        logits.flatten(0, 1).float(), wanted.flatten(), reduction="none"
    )
    return losses.view_as(wanted), batch.positions[:, 1:]


def _norm(
    model: nn.Module, batches: Sequence[Batch], parameters: Sequence[nn.Parameter], position: int
) -> float:
    count = sum(int((batch.positions == position).sum()) for batch in batches)
    for batch in batches:
        losses, positions = _losses(model, batch)
        torch.autograd.backward(losses[positions == position].sum() / count)
    grads = [p.grad for p in parameters if p.grad is not None]
    norm = float(torch.stack([g.double().norm().cpu() for g in grads]).norm())
    for parameter in parameters:
        parameter.grad = None
    if not norm < float("inf"):
        raise ThreatspecError("TS-DIVERGED", f"gradients must be finite, but their norm is {norm}")
    return norm


@contextmanager
def _free(model: nn.Module) -> Iterator[list[nn.Parameter]]:
    """Every weight free to have a gradient, for as long as the context lasts."""
    parameters = list(model.parameters())
    before = [p.requires_grad for p in parameters]
    try:
        for parameter in parameters:
            parameter.requires_grad_(True)
            parameter.grad = None
        yield parameters
    finally:
        for parameter, free in zip(parameters, before, strict=True):
            parameter.grad = None
            parameter.requires_grad_(free)
