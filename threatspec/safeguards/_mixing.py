"""Steps of two kinds of rows with an explicit weight between them."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TypeVar

from pydantic import Field

from threatspec.records import Spend, Stream
from threatspec.safeguards.base import (
    Fitted,
    SafeguardConfig,
    SafeguardContext,
    require_rows,
    row_length,
)
from threatspec.subjects import SubjectCard
from threatspec.training import (
    Hyperparameters,
    TrainingJob,
    TrainingRow,
    Trajectory,
    training_flops,
)

__all__ = ["Demonstrate", "MixedConfig", "fit_mixed", "mixed_cost", "mixed_rows"]

Demonstrate = Callable[[TrainingRow, random.Random], TrainingRow]
"""Turns a safety row into what is trained on; weight is set by the mixing."""


class MixedConfig(SafeguardConfig):
    """Knobs of a fine-tuning on safety rows next to benign rows."""

    lr: float = Field(default=1e-4, gt=0, le=1)
    """Learning rate of AdamW, constant."""
    steps: int = Field(default=400, ge=1)
    """Optimiser steps."""
    alpha: float = Field(default=0.5, gt=0, lt=1)
    """Weight of the safety rows' mean loss; 1 - alpha is that of the benign rows."""
    safety_rows: int = Field(default=32, ge=1)
    """Safety rows per step."""
    benign_rows: int = Field(default=32, ge=1)
    """Benign rows per step."""


def fit_mixed(
    context: SafeguardContext,
    config: MixedConfig,
    demonstrate: Demonstrate,
    asked: Callable[[TrainingRow], TrainingRow] = lambda row: row,
) -> Generator[TrainingJob, Trajectory, Fitted]:
    """Ask for one training run on mixed rows; the safeguard is its last checkpoint.

    `asked` says of every row how it is asked, after its weight is known.

    Raises ThreatspecError TS-SAFEGUARD for no rows of one kind, or without a refusal.
    """
    require_rows(context, "safety", "benign")
    sizes = (config.safety_rows, config.benign_rows)
    rows = mixed_rows(
        context.safety, context.benign, demonstrate, alpha=config.alpha, steps=config.steps,
        sizes=sizes, seed=context.seeds[Stream.DATA_SUBSET],
    )  # fmt: skip
    trajectory = yield TrainingJob(
        rows=tuple(asked(row) for row in rows),
        hyperparameters=Hyperparameters(
            lr=config.lr, steps=config.steps, batch_size=sum(sizes), shuffle=False
        ),
        seeds=dict(context.seeds),
    )
    return Fitted(tampers=(trajectory.last,))


def mixed_cost(subject: SubjectCard, config: MixedConfig, words: int) -> Spend:
    """Of the run that `fit_mixed` asks for: every row as long as the longest."""
    length = row_length(subject, words)
    tokens = config.steps * (config.safety_rows + config.benign_rows) * length
    flops = training_flops(subject, tokens, length)
    return Spend(steps=config.steps, tokens=tokens, flops=flops)


def mixed_rows(
    safety: Sequence[TrainingRow],
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
