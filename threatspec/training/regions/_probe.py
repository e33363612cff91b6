"""Probing attention heads: can a linear probe tell safety from utility prompts by one head?

The baseline of 2402.05162: a linear probe per head, five of seven rows to fit and the others to
check. Here the probe is a logistic regression on the head's output at the last token of the prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from threatspec.errors import ThreatspecError
from threatspec.subjects._resident import ResidentSubject
from threatspec.training._batches import Encoded
from threatspec.training.regions._attention import Attention, attentions_of
from threatspec.training.regions._reading import forward, micro_batches

__all__ = ["accuracies", "last_prompt_token", "probe"]

_FITTED = 5 / 7
_NEWTON_STEPS = 15
_RIDGE = 1.0


def probe(
    subject: ResidentSubject, safety: Sequence[Encoded], utility: Sequence[Encoded]
) -> dict[str, torch.Tensor]:
    """`accuracy`, [attention layers, heads]: share of rows not fitted on that come out right."""
    for rows in (safety, utility):
        if len(rows) < 2:
            raise ThreatspecError(
                "TS-DATA", "a probe needs two rows of either role, one to fit and one to check"
            )
    attentions = attentions_of(subject.model)
    own, other = (_heads(subject, attentions, rows) for rows in (safety, utility))
    return {"accuracy": torch.stack([accuracies(a, b) for a, b in zip(own, other, strict=True)])}


def accuracies(positive: torch.Tensor, negative: torch.Tensor) -> torch.Tensor:
    """Accuracy per head, from outputs [rows, heads, width] of either class; the first rows fit."""
    cut, other = (max(1, min(len(x) - 1, int(len(x) * _FITTED))) for x in (positive, negative))
    fit = torch.cat([positive[:cut], negative[:other]]).double()
    check = torch.cat([positive[cut:], negative[other:]]).double()
    mean, spread = fit.mean(0), fit.std(0).clamp_min(1e-8)
    labels = torch.cat([torch.ones(cut), torch.zeros(other)]).double().to(fit.device)
    weights = _fitted(_with_bias((fit - mean) / spread), labels)
    guess = torch.einsum("nhd,hd->nh", _with_bias((check - mean) / spread), weights) > 0
    truth = torch.arange(len(check), device=guess.device) < len(positive) - cut
    return (guess == truth[:, None]).double().mean(0)


def _with_bias(features: torch.Tensor) -> torch.Tensor:
    return torch.cat([features, torch.ones_like(features[..., :1])], dim=-1)


def _fitted(features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Ridge logistic regression of every head at once by Newton's method: [heads, width + 1]."""
    heads, size = features.shape[1:]
    weights = features.new_zeros(heads, size)
    ridge = _RIDGE * torch.eye(size, dtype=features.dtype, device=features.device)
    for _ in range(_NEWTON_STEPS):
        guess = torch.einsum("nhd,hd->nh", features, weights).sigmoid()
        slope = torch.einsum("nhd,nh->hd", features, guess - labels[:, None]) + _RIDGE * weights
        curve = torch.einsum("nhd,nh,nhe->hde", features, guess * (1 - guess), features) + ridge
        weights = weights - torch.linalg.solve(curve, slope)
    return weights


@torch.no_grad()
def _heads(
    subject: ResidentSubject, attentions: Sequence[Attention], rows: Sequence[Encoded]
) -> list[torch.Tensor]:
    """Outputs of all heads at the last token of the prompt: per layer [rows, heads, width]."""
    found: list[list[torch.Tensor]] = [[] for _ in attentions]
    for index in range(len(rows)):  # one by one, so that rows stay in their order
        [batch] = micro_batches(subject, rows[index : index + 1])
        with _hooked(attentions, found, last_prompt_token(batch.positions)):
            forward(subject.model, batch)
    return [torch.cat(own).view(-1, a.heads, a.width)
            for own, a in zip(found, attentions, strict=True)]  # fmt: skip


def last_prompt_token(positions: torch.Tensor) -> torch.Tensor:
    """Index of the last token before the response, [rows], from positions in the response."""
    return (positions == 0).int().argmax(1) - 1


@contextmanager
def _hooked(
    attentions: Sequence[Attention], found: list[list[torch.Tensor]], last: torch.Tensor
) -> Iterator[None]:
    handles = [
        attention.output.module.register_forward_pre_hook(_hook(own, last))
        for attention, own in zip(attentions, found, strict=True)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hook(own: list[torch.Tensor], last: torch.Tensor) -> Callable[..., None]:
    def hook(_module: nn.Module, given: tuple[Any, ...]) -> None:
        hidden = given[0].reshape(len(last), -1, given[0].shape[-1])
        rows = torch.arange(len(last), device=hidden.device)
        own.append(hidden[rows, last.to(hidden.device)].float())

    return hook
