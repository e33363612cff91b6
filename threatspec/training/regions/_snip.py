"""SNIP: how much the loss would change, to first order, if an entry were 0.

I(W) = mean over rows of |W x dL/dW|, absolute value row by row (2402.05162). L is the
mean negative log-likelihood, in nats per token, of the response given the prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from threatspec.errors import ThreatspecError
from threatspec.subjects._resident import ResidentSubject
from threatspec.training._batches import Batch, Encoded
from threatspec.training.regions._layers import Matrix, matrices_of
from threatspec.training.regions._reading import forward, micro_batches

__all__ = ["snip"]

_MICRO_BATCH = 4
_CHUNK = 2**19
"""Entries of a gradient that are made at once: few enough to stay in a core's cache."""


def snip(subject: ResidentSubject, rows: Sequence[Encoded]) -> dict[str, torch.Tensor]:
    """Scores by parameter, in the parameter's own shape.

    A row's gradient of a matrix is the product of what came in and what came back, and is added up
    piece by piece without ever being there as a whole. Fused experts have no such product: their
    rows go through the model one at a time, and gradients are dropped as soon as they are added.
    """
    model, matrices = subject.model, matrices_of(subject.model)
    own = dict(model.named_parameters())
    sums = {m.name: _zeros(own[m.name]) for m in matrices}
    fused = {m.name: own[m.name] for m in matrices if m.part is not None}
    with ExitStack() as stack:
        stack.enter_context(_only(model, set(fused)))
        stack.enter_context(_summing_fused(fused, sums))
        stack.enter_context(_summing([m for m in matrices if m.part is None], sums))
        for batch in micro_batches(subject, rows, size=1 if fused else _MICRO_BATCH):
            torch.autograd.backward(_loss(model, batch))
    for name, total in sums.items():
        total.mul_(own[name].detach().abs()).div_(len(rows))
    return sums


def _zeros(like: torch.Tensor) -> torch.Tensor:
    """For sums over rows: never in half precision."""
    kind = torch.promote_types(like.dtype, torch.float32)
    return torch.zeros_like(like, dtype=kind, requires_grad=False)


def _loss(model: nn.Module, batch: Batch) -> torch.Tensor:
    """Sum over rows of the mean loss per response token, nats."""
    response = batch.positions >= 0
    first = int(response.int().argmax(1).min())
    logits = forward(model, batch, last=batch.length - first + 1)[:, first - batch.length - 1 : -1]
    wanted, counted = batch.ids[:, first:], response[:, first:].to(logits.device)
    losses = nn.functional.cross_entropy(
        logits.flatten(0, 1), wanted.flatten().to(logits.device), reduction="none"
    ).view_as(counted)
    loss = ((losses * counted).sum(1) / counted.sum(1)).sum()
    if not bool(torch.isfinite(loss)):
        raise ThreatspecError("TS-DIVERGED", f"the loss of a row must be finite, but is {loss:g}")
    return loss


@contextmanager
def _only(model: Any, wanted: set[str]) -> Iterator[None]:
    """Gradients for few parameters: the others would cost time and memory."""
    before = {name: p.requires_grad for name, p in model.named_parameters()}
    handle = model.get_input_embeddings().register_forward_hook(
        lambda _module, _given, out: out.requires_grad_(True)
    )
    try:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in wanted)
        yield
    finally:
        handle.remove()
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(before[name])


@contextmanager
def _summing(matrices: Sequence[Matrix], sums: dict[str, torch.Tensor]) -> Iterator[None]:
    """Absolute gradients of each row are added to `sums` when what came back is known."""
    handles = [m.module.register_forward_hook(_hook(m, sums[m.name])) for m in matrices]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hook(matrix: Matrix, total: torch.Tensor) -> Callable[..., None]:
    def hook(_module: nn.Module, given: tuple[Any, ...], out: torch.Tensor) -> None:
        came_in = given[0].detach()
        _when_back(out, lambda back: _add(total, came_in, back, transposed=matrix.transposed))

    return hook


def _add(
    total: torch.Tensor, came_in: torch.Tensor, back: torch.Tensor, *, transposed: bool
) -> None:
    """Add |gradient| of every row, in pieces of the stored tensor's first dimension."""
    left, right = (came_in, back) if transposed else (back, came_in)
    size = max(1, _CHUNK // right.shape[-1])
    for start in range(0, len(total), size):
        piece = total[start : start + size]
        for of_left, of_right in zip(left, right, strict=True):
            piece.add_((of_left[:, start : start + size].T @ of_right).abs_())


@contextmanager
def _summing_fused(fused: dict[str, nn.Parameter], sums: dict[str, torch.Tensor]) -> Iterator[None]:
    """Absolute gradients of whole parameters are added to `sums` when they arrive."""
    names = {id(parameter): name for name, parameter in fused.items()}

    def add(parameter: torch.Tensor) -> None:
        if parameter.grad is not None:
            sums[names[id(parameter)]].add_(parameter.grad.abs_())
            parameter.grad = None

    handles = [_when_accumulated(p, add) for p in fused.values()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _when_accumulated(parameter: Any, add: Callable[[torch.Tensor], None]) -> Any:
    return parameter.register_post_accumulate_grad_hook(add)


def _when_back(out: Any, add: Callable[[torch.Tensor], None]) -> None:
    out.register_hook(add)
