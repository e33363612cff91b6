"""Training rows of an adversary: `BENCHMARK#SPLIT`, never the prompts that a verdict reads."""

from __future__ import annotations

from pathlib import Path

from threatspec.errors import ThreatspecError
from threatspec.measures import benchmark
from threatspec.training import TrainingRow

__all__ = ["training_rows"]

_SPLITS = ("attack_train", "attack_dev")


def training_rows(source: str, folder: Path) -> tuple[TrainingRow, ...]:
    """Demonstrations from `BENCHMARK#SPLIT`; relative files are looked for in `folder`.

    Raises ThreatspecError TS-DATA if the split may not be trained on, is empty, or has items
    without an answer; TS-UNKNOWN-BENCHMARK or TS-FILE-MISSING if there is no such benchmark.
    """
    name, _, split = source.partition("#")
    if split not in _SPLITS:
        raise ThreatspecError(
            "TS-DATA",
            f"rows must come from one of the splits {', '.join(_SPLITS)} (BENCHMARK#SPLIT), "
            f"but got {source!r}",
        )
    items = benchmark(name, folder).items(split)
    if not items or not all(item.answer for item in items):
        raise ThreatspecError(
            "TS-DATA", f"{source} must hold items with an answer, but has {len(items)} items"
            + (", some without" if items else ""),
        )  # fmt: skip
    return tuple(
        TrainingRow(id=item.id, prompt=item.prompt, answer=item.answer, refusal=item.refusal)
        for item in items
    )
