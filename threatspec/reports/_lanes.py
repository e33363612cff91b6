"""A worker's time as a lane: bins of time, each filled from below by the shares of what was done.

A lane has at most `BINS` marks per kind, however many trials there were.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

__all__ = ["BINS", "HEIGHT", "Piece", "Span", "paths"]

BINS, HEIGHT = 100, 20

Span = tuple[float, float]
Piece = tuple[str, float, float]
"""What was done, from when to when."""


def paths(
    pieces: Iterable[Piece], span: float, kinds: Sequence[str]
) -> tuple[tuple[str, str], ...]:
    """A path per kind of those that occur, in a box of `BINS` x `HEIGHT`."""
    if span <= 0:
        return ()
    filled = {kind: [0.0] * BINS for kind in kinds}
    for kind, start, end in pieces:
        for number, share in _shares(start / span * BINS, end / span * BINS):
            filled[kind][number] += share
    floor, found = [0.0] * BINS, []
    for kind in kinds:
        top = [low + share for low, share in zip(floor, filled[kind], strict=True)]
        if path := "".join(_blocks(floor, top)):
            found.append((kind, path))
        floor = top
    return tuple(found)


def _shares(start: float, end: float) -> Iterator[tuple[int, float]]:
    """How much of each bin lies between two places."""
    for number in range(int(start), min(int(end), BINS - 1) + 1):
        yield number, max(0.0, min(end, number + 1) - max(start, number))


def _blocks(floor: Sequence[float], top: Sequence[float]) -> Iterator[str]:
    """Rectangles; neighbours of one height are one."""
    edges = [(_y(low), _y(high)) for low, high in zip(floor, top, strict=True)]
    begin = 0
    for number in range(1, BINS + 1):
        if number < BINS and edges[number] == edges[begin]:
            continue
        low, high = edges[begin]
        if low != high:
            yield f"M{begin} {low:g}H{number}V{high:g}H{begin}z"
        begin = number


def _y(share: float) -> float:
    return round(HEIGHT * (1 - min(share, 1.0)), 1)
