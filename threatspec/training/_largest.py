"""Exactly so many largest values over many tensors, without laying them side by side.

Floats are compared by their bits: as whole numbers in the order of the values. Two passes count
them, by the upper and by the lower 16 bits; that gives the smallest value that is taken, and how
many equal to it are. Of equal values the first ones are taken, in the order of the tensors and
then of their flat index, so that the choice does not depend on a sorting algorithm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch

__all__ = ["largest", "largest_of_rows"]

Values = Callable[[str], torch.Tensor]
"""The finite float32 values of a tensor by name, flat; may be called several times."""
_CHUNK = 1 << 22
_BINS = 1 << 16


def largest(
    names: list[str], values: Values, count: int, free: Mapping[str, torch.Tensor]
) -> Iterator[tuple[str, torch.Tensor]]:
    """Of all tensors together, mark the `count` largest values: name and flat booleans.

    `free` holds flat booleans by name: where one is False, nothing is taken.
    """
    edge, left = _edge(names, values, count, free)
    for name in names:
        pieces = []
        for keys, able in _pieces(values(name), free.get(name)):
            taken, equal = keys > edge, keys == edge
            if able is not None:
                taken, equal = taken & able, equal & able
            first = equal.nonzero().flatten()[:left]
            taken[first] = True
            left -= len(first)
            pieces.append(taken)
        yield name, torch.cat(pieces)


def _edge(
    names: list[str], values: Values, count: int, free: Mapping[str, torch.Tensor]
) -> tuple[int, int]:
    """The key of the smallest value that is taken, and how many equal to it are."""
    upper = _counted(_each(names, values, free), lambda keys: keys >> 16)
    high, above = _bin(upper, count)
    lower = _counted(
        (keys[keys >> 16 == high] for keys in _each(names, values, free)),
        lambda keys: keys & 0xFFFF,
    )
    low, more = _bin(lower, count - above)
    return high << 16 | low, count - above - more


def _each(
    names: list[str], values: Values, free: Mapping[str, torch.Tensor]
) -> Iterator[torch.Tensor]:
    """Keys of what may be taken, in pieces."""
    for name in names:
        for keys, able in _pieces(values(name), free.get(name)):
            yield keys if able is None else keys[able]


def _pieces(
    values: torch.Tensor, free: torch.Tensor | None
) -> Iterator[tuple[torch.Tensor, torch.Tensor | None]]:
    """Keys, and where they may be taken: keys are larger than what they are of."""
    for start in range(0, len(values), _CHUNK):
        piece = slice(start, start + _CHUNK)
        yield _keys(values[piece]), None if free is None else free[piece]


def _counted(
    pieces: Iterator[torch.Tensor], bins: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    total = torch.zeros(_BINS, dtype=torch.long)
    for keys in pieces:
        total += torch.bincount(bins(keys), minlength=_BINS)
    return total


def _bin(counts: torch.Tensor, count: int) -> tuple[int, int]:
    """The bin that holds the `count`-th from above, and how many are in the bins above it."""
    reached = counts.flip(0).cumsum(0)
    place = int((reached < count).sum())
    return _BINS - 1 - place, int(reached[place - 1]) if place else 0


def _keys(values: torch.Tensor) -> torch.Tensor:
    """Whole numbers in [0, 2**32) in the order of the values; 0 and -0 are equal."""
    bits = (values + 0.0).view(torch.int32).long()
    return torch.where(bits >= 0, bits, bits ^ 0x7FFFFFFF) + (1 << 31)


def largest_of_rows(values: torch.Tensor, share: float, free: torch.Tensor | None) -> torch.Tensor:
    """Mark the largest round(share x n) of the n values of every row that may be taken.

    `values` and `free` are [rows, columns]; so is the result. Of equal values the first are taken.
    """
    if free is not None:
        values = values.masked_fill(~free, -torch.inf)
    order = values.argsort(dim=1, descending=True, stable=True)
    columns = values.shape[1]
    able = free.sum(dim=1) if free is not None else torch.full((len(values),), columns)
    wanted = (able.double() * share).round().long()
    ranks = torch.arange(columns).expand_as(values) < wanted[:, None]
    return torch.zeros_like(values, dtype=torch.bool).scatter_(1, order, ranks)
