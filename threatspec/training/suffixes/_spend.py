"""What a search of a suffix takes, by formula: the same for prediction and for metering."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from threatspec.records import Spend
from threatspec.subjects import SubjectCard
from threatspec.training._flops import forward_flops

__all__ = ["Lengths", "evaluations", "prefix", "rows_at", "search_spend"]


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of one row with a suffix."""

    head: int
    """Before the suffix."""
    suffix: int
    rest: int
    """After it: the rest of the template and the target, but for its last token."""

    @property
    def whole(self) -> int:
        """Of the whole sequence."""
        return self.head + self.suffix + self.rest


def evaluations(
    subject: SubjectCard, row: Lengths, count: int, *, reuse: bool = True, backward: bool = False
) -> Spend:
    """Asking one row with `count` suffixes; `backward`: with gradients of the suffix.

    The backward pass has no gradients of weights: it costs as much as the forward pass.
    """
    tokens = count * (row.whole - row.head if reuse else row.whole)
    flops = forward_flops(subject, tokens, row.whole) * (2 if backward else 1)
    return Spend(tokens=tokens, flops=flops, queries=count)


def prefix(subject: SubjectCard, row: Lengths) -> Spend:
    """Running what stands before the suffix once; that alone is no query."""
    return Spend(tokens=row.head, flops=forward_flops(subject, row.head, row.head))


def rows_at(step: int, steps: int, rows: int, *, progressive: bool) -> int:
    """Rows that step `step` (from 0) looks at; the last step looks at all."""
    return -(-(step + 1) * rows // steps) if progressive else rows


def search_spend(
    subject: SubjectCard,
    rows: Sequence[Lengths],
    steps: int,
    candidates: int,
    *,
    gradient: bool,
    progressive: bool = False,
    reuse: bool = True,
) -> Spend:
    """A whole search in which every step finds as many candidates as it may try.

    A step asks each of its rows `candidates` + 1 times, with gradients once or never.
    """
    used = [rows_at(step, steps, len(rows), progressive=progressive) for step in range(steps)]
    total = Spend()
    for number, row in enumerate(rows):
        times = sum(number < count for count in used)
        started = int(number >= used[0])  # rows that come later are asked once at the start
        total += prefix(subject, row) if reuse else Spend()
        plain = times * (candidates if gradient else candidates + 1) + started
        total += evaluations(subject, row, plain, reuse=reuse)
        if gradient:
            total += evaluations(subject, row, times, reuse=reuse, backward=True)
    return total
