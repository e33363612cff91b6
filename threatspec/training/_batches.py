"""Rows to batches: which rows at which step, and their token ids with the loss they carry."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from threatspec.errors import ThreatspecError
from threatspec.schema import Serving
from threatspec.subjects import Request
from threatspec.subjects._resident import ResidentSubject
from threatspec.training._job import Hyperparameters, TrainingRow

__all__ = ["Batch", "Encoded", "batches", "collate", "encode"]


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids of one row; the answer is the ids from `start` on, and carries the loss."""

    ids: tuple[int, ...]
    start: int
    weight: float
    whole: bool = False
    """Whether what precedes the answer carries loss too."""
    padded: int = 0
    """Padding up to this length carries loss too."""
    reference: tuple[float, ...] = ()
    """Log-probability of each token of the answer under a model that a policy compares with, in
    nats; empty = it compares with none."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Padded on the right. All tensors are [rows, length]."""

    ids: torch.Tensor
    mask: torch.Tensor
    weights: torch.Tensor
    """Weight of the loss of *predicting* this token; 0 where there is no loss."""
    positions: torch.Tensor
    """Index of the token within the answer, -1 outside."""
    places: torch.Tensor | None = None
    """Position ids where several rows share a sequence: each row begins at 0. None = one row per
    sequence."""
    reference: torch.Tensor | None = None
    """Log-probabilities of a policy's model; 0 outside answers. None = no row has any."""

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        return Batch(
            self.ids.to(device), self.mask.to(device), self.weights.to(device),
            self.positions.to(device), None if self.places is None else self.places.to(device),
            None if self.reference is None else self.reference.to(device),
        )  # fmt: skip

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

    @property
    def loss_weight(self) -> float:
        """Sum of the weights of all tokens with loss."""
        return float(self.weights.double().sum())


def encode(
    subject: ResidentSubject,
    rows: Sequence[TrainingRow],
    hyperparameters: Hyperparameters | None = None,
) -> list[Encoded]:
    """Rows in the subject's own template, the answer closed by the end of the turn.

    `hyperparameters` say how long rows may be and what carries loss; None: the answer, uncut.

    Raises ThreatspecError TS-DATA for a row that does not fit into the context, or that is cut
    before its answer begins; TS-TEMPLATE if the subject has no template.
    """
    encoded = [_encode(subject, row, hyperparameters) for row in rows]
    return [_spanned(row, hyperparameters) for row in encoded] if hyperparameters else encoded


def _encode(
    subject: ResidentSubject, row: TrainingRow, hyperparameters: Hyperparameters | None
) -> Encoded:
    request = Request(item=row.id, prompt=row.prompt, prefix=row.prefix)
    seen, _, _ = subject.render(request, Serving(system=row.system))
    ids = (*seen, *subject.tokens(row.answer), subject.end)
    most = hyperparameters.max_length if hyperparameters else None
    if most is not None:
        ids = _cut(row, ids, len(seen), most)
    if len(ids) > subject.card.context:
        raise ThreatspecError(
            "TS-DATA",
            f"row {row.id} must fit into the context of {subject.card.context} tokens, "
            f"but has {len(ids)}",
        )
    return Encoded(ids, len(seen), row.weight)


def _cut(row: TrainingRow, ids: tuple[int, ...], start: int, most: int) -> tuple[int, ...]:
    if start >= most:
        raise ThreatspecError(
            "TS-DATA",
            f"row {row.id} must keep some of its answer when it is cut to {most} tokens, but what "
            f"precedes the answer has {start}",
        )
    return ids[:most]


def _spanned(row: Encoded, hyperparameters: Hyperparameters) -> Encoded:
    """The row with what carries loss in it."""
    if hyperparameters.loss_on == "answer":
        return row
    if hyperparameters.loss_on == "all":
        return replace(row, whole=True)
    if hyperparameters.max_length is None:
        text = "rows must be padded to `max_length` for padding to carry loss, but it is not given"
        raise ThreatspecError("TS-DATA", text)
    return replace(row, whole=True, padded=hyperparameters.max_length)


def batches(count: int, hyperparameters: Hyperparameters, seed: int) -> Iterator[list[int]]:
    """Row numbers of each optimiser step: no row comes again before all have come.

    With `drop_last` an epoch ends before rows that do not fill a batch; without it the next epoch
    fills it.
    """
    chooser = random.Random(seed)
    waiting: list[int] = []
    size = min(hyperparameters.batch_size, count)
    for _ in range(hyperparameters.steps):
        batch: list[int] = []
        if hyperparameters.drop_last and len(waiting) < size:
            waiting = []
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
    length = max(max(len(row.ids), row.padded) for row in rows)
    shape = (len(rows), length)
    ids = torch.full(shape, pad)
    mask = torch.zeros(shape, dtype=torch.long)
    weights = torch.zeros(shape)
    positions = torch.full(shape, -1)
    for index, row in enumerate(rows):
        end = len(row.ids)
        ids[index, :end] = torch.tensor(row.ids)
        mask[index, :end] = 1
        # nothing predicts the first token
        weights[index, 1 if row.whole else row.start : max(end, row.padded)] = row.weight
        positions[index, row.start : end] = torch.arange(end - row.start)
    return Batch(ids, mask, weights, positions, reference=_reference(rows, shape))


def _reference(rows: Sequence[Encoded], shape: tuple[int, int]) -> torch.Tensor | None:
    if not any(row.reference for row in rows):
        return None
    found = torch.zeros(shape)
    for index, row in enumerate(rows):
        found[index, row.start : row.start + len(row.reference)] = torch.tensor(row.reference)
    return found
