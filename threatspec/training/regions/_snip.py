"""SNIP: how much the loss would change, to first order, if an entry were 0.

I(W) = mean over rows of |W x dL/dW|, absolute value row by row (2402.05162 section 3.1). L is the
mean negative log-likelihood, in nats per token, of the response given the prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from threatspec.errors import ThreatspecError
from threatspec.subjects._resident import ResidentSubject
from threatspec.training._batches import Batch, Encoded
from threatspec.training.regions._layers import matrices_of
from threatspec.training.regions._reading import forward, micro_batches

__all__ = ["snip"]


def snip(subject: ResidentSubject, rows: Sequence[Encoded]) -> dict[str, torch.Tensor]:
    """Scores by parameter, in the parameter's own shape.

    One row at a time, and a gradient is added up and dropped as soon as it is there: no more than
    one copy of the scored weights is held.
    """
    model = subject.model
    own = dict(model.named_parameters())
    scored = {m.name: own[m.name] for m in matrices_of(model)}
    sums = {name: torch.zeros_like(p, requires_grad=False) for name, p in scored.items()}
    with _only(model, scored), _summing(scored, sums):
        for batch in micro_batches(subject, rows, size=1):
            torch.autograd.backward(_loss(model, batch))
    for name, parameter in scored.items():
        sums[name].mul_(parameter.detach().abs()).div_(len(rows))
    return sums


def _loss(model: nn.Module, batch: Batch) -> torch.Tensor:
    """Mean loss per response token of one row."""
    wanted = batch.ids[0, batch.positions[0] >= 0]
    logits = forward(model, batch, last=len(wanted) + 1)[0, -len(wanted) - 1 : -1]
    loss = nn.functional.cross_entropy(logits, wanted.to(logits.device))
    if not bool(torch.isfinite(loss)):
        raise ThreatspecError("TS-DIVERGED", f"the loss of a row must be finite, but is {loss:g}")
    return loss


@contextmanager
def _only(model: nn.Module, scored: dict[str, nn.Parameter]) -> Iterator[None]:
    """Gradients for scored parameters only: the others would cost time and memory."""
    before = {name: p.requires_grad for name, p in model.named_parameters()}
    try:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in scored)
        yield
    finally:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(before[name])


@contextmanager
def _summing(scored: dict[str, nn.Parameter], sums: dict[str, torch.Tensor]) -> Iterator[None]:
    """Absolute gradients are added to `sums` when they arrive."""
    names = {id(parameter): name for name, parameter in scored.items()}

    def add(parameter: torch.Tensor) -> None:
        if parameter.grad is not None:
            sums[names[id(parameter)]].add_(parameter.grad.abs_())
            parameter.grad = None

    handles = [_when_accumulated(p, add) for p in scored.values()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _when_accumulated(parameter: Any, add: Callable[[torch.Tensor], None]) -> Any:
    return parameter.register_post_accumulate_grad_hook(add)
