"""Rows to batches: which rows at which step, and their token ids with the loss they carry."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from threatspec.errors import ThreatspecError
from threatspec.schema import Serving
from threatspec.subjects import Request
from threatspec.subjects._resident import ResidentSubject
from threatspec.training._job import Hyperparameters, TrainingRow

__all__ = ["Batch", "Encoded", "batches", "collate", "encode"]


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids of one row; loss is on the ids from `start` on."""

    ids: tuple[int, ...]
    start: int
    weight: float


@dataclass(frozen=True, slots=True)
class Batch:
    """Padded on the right. All tensors are [rows, length]."""

    ids: torch.Tensor
    mask: torch.Tensor
    weights: torch.Tensor
    """Weight of the loss of *predicting* this token; 0 where there is no loss."""
    positions: torch.Tensor
    """Index of the token within the answer, -1 outside."""

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        tensors = (self.ids, self.mask, self.weights, self.positions)
        return Batch(*(tensor.to(device) for tensor in tensors))

    @property
    def tokens(self) -> int:
        """Tokens that go through the model, padding included."""
        return self.ids.numel()

    @property
    def length(self) -> int:
        """Length of the padded sequences."""
        return self.ids.shape[1]

    @property
    def loss_tokens(self) -> int:
        """Tokens that carry loss."""
        return int((self.weights > 0).sum())


def encode(subject: ResidentSubject, rows: Sequence[TrainingRow]) -> list[Encoded]:
    """Rows in the subject's own template, the answer closed by the end of the turn.

    Raises ThreatspecError TS-DATA for a row that does not fit into the context.
    """
    return [_encode(subject, row) for row in rows]


def _encode(subject: ResidentSubject, row: TrainingRow) -> Encoded:
    request = Request(item=row.id, prompt=row.prompt, prefix=row.prefix)
    seen, _, _ = subject.render(request, Serving())
    ids = (*seen, *subject.tokens(row.answer), subject.end)
    if len(ids) > subject.card.context:
        raise ThreatspecError(
            "TS-DATA",
            f"row {row.id} must fit into the context of {subject.card.context} tokens, "
            f"but has {len(ids)}",
        )
    return Encoded(ids, len(seen), row.weight)


def batches(count: int, hyperparameters: Hyperparameters, seed: int) -> Iterator[list[int]]:
    """Row numbers of each optimiser step: no row comes again before all have come."""
    chooser = random.Random(seed)
    waiting: list[int] = []
    size = min(hyperparameters.batch_size, count)
    for _ in range(hyperparameters.steps):
        batch: list[int] = []
        while len(batch) < size:
            if not waiting:
                waiting = list(range(count))
                if hyperparameters.shuffle:
                    chooser.shuffle(waiting)
            take = size - len(batch)
            batch, waiting = batch + waiting[:take], waiting[take:]
        yield batch


def collate(rows: Sequence[Encoded], pad: int) -> Batch:
    """Rows of different lengths as one batch."""
    length = max(len(row.ids) for row in rows)
    shape = (len(rows), length)
    ids = torch.full(shape, pad)
    mask = torch.zeros(shape, dtype=torch.long)
    weights = torch.zeros(shape)
    positions = torch.full(shape, -1)
    for index, row in enumerate(rows):
        end = len(row.ids)
        ids[index, :end] = torch.tensor(row.ids)
        mask[index, :end] = 1
        weights[index, row.start : end] = row.weight
        positions[index, row.start : end] = torch.arange(end - row.start)
    return Batch(ids, mask, weights, positions)
