"""Training rows of an adversary: `BENCHMARK#SPLIT`, never the prompts that a verdict reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from threatspec.errors import ThreatspecError
from threatspec.measures import benchmark
from threatspec.training import TrainingRow

__all__ = ["SAFEGUARD_SPLITS", "training_rows"]

_SPLITS = ("attack_train", "attack_dev")
SAFEGUARD_SPLITS = ("safeguard_train", *_SPLITS)
"""Splits that a safeguard may be trained on; what a verdict reads is none of them."""


def training_rows(
    source: str, folder: Path, splits: Sequence[str] = _SPLITS
) -> tuple[TrainingRow, ...]:
    """Demonstrations from `BENCHMARK#SPLIT`, of one of `splits`; relative files are looked for in
    `folder`.

    Raises ThreatspecError TS-DATA if the split may not be trained on, is empty, or has items
    without an answer; TS-UNKNOWN-BENCHMARK or TS-FILE-MISSING if there is no such benchmark.
    """
    name, _, split = source.partition("#")
    if split not in splits:
        raise ThreatspecError(
            "TS-DATA",
            f"rows must come from one of the splits {', '.join(splits)} (BENCHMARK#SPLIT), "
            f"but got {source!r}",
        )
    items = benchmark(name, folder).items(split)
    if not items or not all(item.answer for item in items):
        raise ThreatspecError(
            "TS-DATA", f"{source} must hold items with an answer, but has {len(items)} items"
            + (", some without" if items else ""),
        )  # fmt: skip
    return tuple(
        TrainingRow(
            id=item.id,
            prompt=item.prompt,
            answer=item.answer,
            refusal=item.refusal,
            image=item.image,
        )
        for item in items
    )
