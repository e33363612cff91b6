"""Choosing entries of a matrix by their scores: exact counts, per output row or over the matrix."""

from __future__ import annotations

import math

import torch

__all__ = ["count", "highest", "lowest", "random_entries"]


def count(share: float, size: int, floor: int = 0) -> int:
    """How many of `size` entries are `share`: rounded down, at least `floor`, at most all.

    A share of a tiny row rounds down to nothing; `floor` is for these.
    """
    return min(size, max(floor, math.floor(share * size + 1e-9)))


def highest(scores: torch.Tensor, share: float, scope: str, floor: int = 0) -> torch.Tensor:
    """Mask of the entries with the highest scores, [outputs, inputs].

    An entry that scores 0 is never among them (experts that no token reached). `scope` is `row`
    (of each output) or `matrix`.
    """
    return _extreme(scores, share, scope, floor, largest=True) & (scores > 0)


def lowest(scores: torch.Tensor, share: float, scope: str, floor: int = 0) -> torch.Tensor:
    """Mask of the entries with the lowest scores, [outputs, inputs]."""
    return _extreme(scores, share, scope, floor, largest=False)


def random_entries(
    like: torch.Tensor, share: float, scope: str, generator: torch.Generator
) -> torch.Tensor:
    """Mask of entries drawn without replacement, as many as by scores."""
    drawn = torch.rand(like.shape, generator=generator)
    return highest(drawn + 1, share, scope).to(like.device)


def _extreme(
    scores: torch.Tensor, share: float, scope: str, floor: int, *, largest: bool
) -> torch.Tensor:
    compared = scores if scope == "row" else scores.reshape(1, -1)
    size = count(share, compared.shape[1], floor)
    mask = torch.zeros_like(compared, dtype=torch.bool)
    if size:
        mask.scatter_(1, compared.topk(size, dim=1, largest=largest).indices, True)
    return mask.view_as(scores)
