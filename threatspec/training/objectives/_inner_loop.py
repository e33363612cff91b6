"""Training within a step of training: on copies of the weights, which are gone afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

__all__ = ["Gathered", "aside", "descend", "placed"]

Look = Callable[[int], None]
"""Called after inner step i, from 0, with all gradients at zero; may leave gradients behind."""


@contextmanager
def placed(own: Sequence[nn.Parameter], values: Sequence[torch.Tensor]) -> Iterator[None]:
    """Parameters hold other tensors while the context lasts, then the very ones from before."""
    kept = [parameter.data for parameter in own]
    try:
        for parameter, value in zip(own, values, strict=True):
            parameter.data = value
        yield
    finally:
        for parameter, tensor in zip(own, kept, strict=True):
            parameter.data = tensor


@contextmanager
def aside(own: Sequence[nn.Parameter]) -> Iterator[None]:
    """Whatever happens to the parameters happens to copies."""
    with placed(own, [parameter.detach().clone() for parameter in own]):
        yield


class Gathered:
    """Gradients that are put aside while others are computed."""

    def __init__(self, own: Sequence[nn.Parameter]) -> None:
        self._own = own
        self._sums: list[torch.Tensor | None] = [None for _ in own]

    def take(self) -> None:
        """Add the parameters' gradients to what was put aside; they have none afterwards."""
        for index, parameter in enumerate(self._own):
            grad, parameter.grad, before = parameter.grad, None, self._sums[index]
            if grad is not None:
                self._sums[index] = grad if before is None else before.add_(grad)

    def give(self) -> None:
        """Add what was put aside to the parameters' gradients."""
        for parameter, more in zip(self._own, self._sums, strict=True):
            if more is not None:
                parameter.grad = more if parameter.grad is None else parameter.grad.add_(more)


def descend(
    own: Sequence[nn.Parameter],
    losses: Sequence[Callable[[], torch.Tensor]],
    lr: float,
    weight_decay: float,
    look: Look,
) -> float:
    """A new AdamW at a constant rate, one step for each loss; the last loss, nats, or 0.

    Args:
        own: what is trained, in place.
        losses: the loss of each step at the weights of that step.
        lr: learning rate.
        weight_decay: decoupled.
        look: sees the weights after each step.
    """
    optimizer = torch.optim.AdamW(own, lr=lr, weight_decay=weight_decay)
    last = 0.0
    for step, loss_of in enumerate(losses):
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of()
        torch.autograd.backward(loss)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        last = loss.item()
        look(step)
    optimizer.zero_grad(set_to_none=True)
    return last
