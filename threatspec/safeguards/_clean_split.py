"""A defender's clean labelled images: a part that is fitted on, and one that thresholds are set on.

Neither is ever what a verdict reads: sources of safeguards are other splits, and a clean set that
shares images with the test set is TS-R7b.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from threatspec.errors import ThreatspecError
from threatspec.records import Stream
from threatspec.safeguards.base import SafeguardContext, require_rows
from threatspec.subjects import Request
from threatspec.training import TrainingRow

__all__ = ["CleanSplit", "clean_split", "requests_of", "shifted"]


@dataclass(frozen=True, slots=True)
class CleanSplit:
    """The clean rows in two parts that share none."""

    fitting: tuple[TrainingRow, ...]
    held_out: tuple[TrainingRow, ...]
    """Thresholds are set on these alone, and nothing is trained on them."""


def clean_split(context: SafeguardContext, share: float) -> CleanSplit:
    """The benign rows, drawn apart by the `data_subset` stream; their order makes no difference.

    Args:
        share: of the rows that are held out, between 0 and 1.

    Raises ThreatspecError TS-SAFEGUARD for rows without an image or with a class that the subject
    does not have, and for too few rows for two parts.
    """
    require_rows(context, "benign")
    rows = sorted(context.benign, key=lambda row: row.id)
    _check(rows, context)
    held = round(share * len(rows))
    if not 0 < held < len(rows):
        text = f"clean images must fill two parts, but of {len(rows)} a share of {share:g} holds "
        raise ThreatspecError("TS-SAFEGUARD", f"{text}{held} out; write a larger n")
    chooser = random.Random(f"{context.seeds[Stream.DATA_SUBSET]}/held-out")
    chooser.shuffle(rows)
    return CleanSplit(tuple(rows[held:]), tuple(rows[:held]))


def _check(rows: Sequence[TrainingRow], context: SafeguardContext) -> None:
    for row in rows:
        if not row.image:
            text = f"clean rows must have an image, but {row.id} has none"
            raise ThreatspecError("TS-SAFEGUARD", text)
        if row.answer not in context.subject.classes:
            text = f"clean rows must name a class of {context.subject.ref}, but {row.id} says "
            raise ThreatspecError("TS-SAFEGUARD", f"{text}{row.answer!r}")


def shifted(rows: Sequence[TrainingRow], classes: Sequence[str]) -> tuple[TrainingRow, ...]:
    """Every row with the class after its own, the last with the first: y -> (y + 1) mod K."""
    after = dict(zip(classes, (*classes[1:], classes[0]), strict=True))
    return tuple(row.model_copy(update={"answer": after[row.answer]}) for row in rows)


def requests_of(rows: Sequence[TrainingRow]) -> list[Request]:
    """The images of rows, as a subject is asked about them."""
    return [
        Request(item=row.id, prompt=row.prompt, image=row.image, pixels=row.pixels) for row in rows
    ]
