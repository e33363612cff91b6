"""Packing: several rows share one sequence, and none sees another.

Rows are told apart by their position ids alone: each begins at 0, and models of transformers then
attend within a row only. A model that does not is found out before it is trained.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from threatspec.errors import ThreatspecError
from threatspec.training._adapters import ADAPTERS
from threatspec.training._batches import Batch, Encoded, collate
from threatspec.training._job import Hyperparameters
from threatspec.training._loss import logits_of

__all__ = ["pack", "require_apart"]

_TOLERANCE = 1e-3
"""Largest difference of logits that another order of additions explains."""


def pack(rows: Sequence[Encoded], pad: int, limit: int) -> Batch:
    """Rows one after the other in as few sequences of at most `limit` tokens as first fit finds.

    Padding is a row of its own without loss.
    """
    bins = _bins([max(len(row.ids), row.padded) for row in rows], limit)
    single = [collate([row], pad) for row in rows]
    length = max(sum(single[i].length for i in chosen) for chosen in bins)
    parts = [_joined([single[i] for i in chosen], pad, length) for chosen in bins]
    columns = zip(*parts, strict=True)
    ids, mask, weights, positions, reference, places = map(torch.stack, columns)
    compared = any(row.reference for row in rows)
    return Batch(ids, mask, weights, positions, places, reference if compared else None)


def _bins(lengths: Sequence[int], limit: int) -> list[list[int]]:
    """First fit: numbers of the rows of each sequence."""
    bins: list[list[int]] = []
    room: list[int] = []
    for index, length in enumerate(lengths):
        place = next((b for b, left in enumerate(room) if left >= length), len(bins))
        if place == len(bins):
            bins.append([])
            room.append(limit)
        bins[place].append(index)
        room[place] -= length
    return bins


def _joined(rows: Sequence[Batch], pad: int, length: int) -> tuple[torch.Tensor, ...]:
    """One sequence: ids, mask, weights, positions in the answer, reference and places of its
    rows."""
    spare = length - sum(row.length for row in rows)
    filler = (
        torch.full((spare,), pad), torch.zeros(spare, dtype=torch.long), torch.zeros(spare),
        torch.full((spare,), -1), torch.zeros(spare), torch.arange(spare),
    )  # fmt: skip
    fields = [(r.ids, r.mask, r.weights, r.positions, _compared(r)) for r in rows]
    own = [[tensor[0] for tensor in row] + [torch.arange(len(row[0][0]))] for row in fields]
    return tuple(torch.cat([*parts, last]) for *parts, last in zip(*own, filler, strict=True))


def _compared(row: Batch) -> torch.Tensor:
    return torch.zeros_like(row.weights) if row.reference is None else row.reference


@torch.no_grad()
def require_apart(
    model: nn.Module, rows: Sequence[Encoded], pad: int, hyper: Hyperparameters
) -> None:
    """Raises ThreatspecError TS-TRIAL-ERROR if rows of one sequence see one another in `model`."""
    _require_possible(hyper)
    pair = [*rows, *rows][:2]
    whole = sum(max(len(row.ids), row.padded) for row in pair)
    together = logits_of(model, pack(pair, pad, whole))[0]
    start = max(len(pair[0].ids), pair[0].padded)
    alone = logits_of(model, collate(pair[1:], pad))[0, : len(pair[1].ids)]
    apart = (together[start : start + len(alone)] - alone).abs().max().item()
    if not apart <= _TOLERANCE * max(1.0, alone.abs().max().item()):
        raise ThreatspecError(
            "TS-TRIAL-ERROR",
            "packing must keep the rows of a sequence apart, but this model with what is trained "
            f"lets them see one another (logits differ by {apart:.3g}); train without packing",
        )


def _require_possible(hyper: Hyperparameters) -> None:
    adapter = ADAPTERS.get(hyper.adapter.method) if hyper.adapter else None
    if adapter and adapter.virtual:
        what = f"the adapter {hyper.adapter.method} puts tokens before them"  # type: ignore
    elif hyper.loss_on == "padded":
        what = "their padding carries loss"
    else:
        return
    text = f"packing must leave rows as they are, but {what}; train without packing"
    raise ThreatspecError("TS-TRIAL-ERROR", text)
