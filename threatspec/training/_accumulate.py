"""Gradients of one batch, in as many parts as memory takes; they equal those of the whole."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from threatspec.errors import ThreatspecError
from threatspec.training._batches import Batch, Encoded, collate
from threatspec.training._job import Hyperparameters
from threatspec.training._loss import batch_loss
from threatspec.training._packing import pack
from threatspec.training._policy import TrainingPolicy

__all__ = ["Accumulator"]


class Accumulator:
    """Puts batches through a model part by part.

    Args:
        model: what is trained.
        policy: whose weights of token losses apply.
        hyper: rows per batch and per part, packing.
        pad: id of the padding.
        context: longest sequence that the model takes, tokens.
    """

    def __init__(
        self,
        model: nn.Module,
        policy: TrainingPolicy,
        hyper: Hyperparameters,
        pad: int,
        context: int,
    ) -> None:
        self._model, self._policy, self._pad = model, policy, pad
        self._limit = (hyper.max_length or context) if hyper.packing else None
        self.micro = min(hyper.micro_batch or hyper.batch_size, hyper.batch_size)
        """Rows that go through the model at once."""
        self.halved = 0
        """How often memory was too small and `micro` was halved."""

    def parts(self, rows: Sequence[Encoded]) -> list[Batch]:
        """The batch as it goes through the model."""
        starts = range(0, len(rows), self.micro)
        return [self._part(rows[start : start + self.micro]) for start in starts]

    def _part(self, rows: Sequence[Encoded]) -> Batch:
        if self._limit is None:
            return collate(rows, self._pad)
        return pack(rows, self._pad, self._limit)

    def backward(self, rows: Sequence[Encoded]) -> float:
        """Add the gradients of the batch's loss; the loss, nats per token.

        Raises ThreatspecError TS-OUT-OF-MEMORY if not even one row fits.
        """
        state = _random_state(self._model)
        loss = self._tried(rows)
        while loss is None:
            self._halve(len(rows))
            _set_random_state(self._model, state)
            loss = self._tried(rows)
        return loss

    def _tried(self, rows: Sequence[Encoded]) -> float | None:
        """None if it does not fit: the frames that hold tensors are gone when this returns."""
        try:
            parts = self.parts(rows)
            total = sum(part.loss_weight for part in parts)
            return sum(self._backward(part, total) for part in parts)
        except RuntimeError as error:
            if not _is_memory(error):
                raise
            return None

    def _backward(self, part: Batch, total: float) -> float:
        loss = batch_loss(self._model, part, self._policy, total)
        torch.autograd.backward(loss)
        return loss.item()

    def _halve(self, rows: int) -> None:
        self._model.zero_grad(set_to_none=True)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        most = min(self.micro, rows)
        if most == 1:
            text = "memory must hold one row with its gradients, but does not; use a smaller model"
            raise ThreatspecError("TS-OUT-OF-MEMORY", f"{text} or shorter rows")
        self.micro = most // 2
        self.halved += 1


def _is_memory(error: RuntimeError) -> bool:
    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or any(
        words in text for words in ("out of memory", "can't allocate", "not enough memory")
    )


def _devices(model: nn.Module) -> list[int]:
    """GPUs that the model lies on; parameters are not gone through where there is none."""
    if not torch.cuda.is_available():
        return []
    return sorted({p.device.index or 0 for p in model.parameters() if p.device.type == "cuda"})


def _random_state(model: nn.Module) -> list[torch.Tensor]:
    """So that a second try draws the same dropout as the first would have."""
    devices = _devices(model)
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state(index) for index in devices)]


def _set_random_state(model: nn.Module, state: Sequence[torch.Tensor]) -> None:
    torch.set_rng_state(state[0])
    for index, own in zip(_devices(model), state[1:], strict=True):
        torch.cuda.set_rng_state(own, index)
