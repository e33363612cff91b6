"""Steps of two kinds of rows with an explicit weight between them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from threatspec.safeguards.base import SafetyRow
from threatspec.training import TrainingRow

__all__ = ["Demonstrate", "mixed_rows"]

Demonstrate = Callable[[SafetyRow, random.Random], TrainingRow]
"""Turns a safety row into what is trained on; weight is set by the mixing."""


def mixed_rows(
    safety: Sequence[SafetyRow],
    benign: Sequence[TrainingRow],
    demonstrate: Demonstrate,
    *,
    alpha: float,
    steps: int,
    sizes: tuple[int, int],
    seed: int,
) -> Iterator[TrainingRow]:
    """Rows of `steps` batches in order, each with `sizes` = (safety, benign) rows.

    The weights make every batch's loss alpha x (mean token loss of its safety rows) +
    (1 - alpha) x (mean token loss of its benign rows), whatever the lengths are: the objective of
    arXiv 2406.05946 with an explicit alpha, not the share of tokens. Raises ValueError if there
    are no rows of one kind.
    """
    chooser = random.Random(seed)
    guarded, allowed = _endless(safety, chooser), _endless(benign, chooser)
    for _ in range(steps):
        shown = [demonstrate(next(guarded), chooser) for _ in range(sizes[0])]
        yield from _weighted(shown, alpha)
        yield from _weighted([next(allowed) for _ in range(sizes[1])], 1 - alpha)


T = TypeVar("T")


def _endless(rows: Sequence[T], chooser: random.Random) -> Iterator[T]:
    """All rows in a new order again and again."""
    if not rows:
        raise ValueError("a safeguard must have safety rows and benign rows, but has none of one")
    while True:
        yield from chooser.sample(rows, len(rows))


def _weighted(rows: Sequence[TrainingRow], share: float) -> list[TrainingRow]:
    """Words stand for tokens here: exact for word-level vocabularies, near for others."""
    words = sum(len(row.answer.split()) + 1 for row in rows)
    return [row.model_copy(update={"weight": share / words}) for row in rows]
