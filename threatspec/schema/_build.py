"""Recipes of subjects: adapt a base to tasks, one after another, or merge what was adapted."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from threatspec.schema._base import Described
from threatspec.schema._fields import Name, Text, complaint
from threatspec.schema._units import Count

__all__ = ["AdaptStep", "BuildStep", "MergeStep", "check_build"]


class AdaptStep(Described):
    """Train the subject on a task. Without a merge each step starts from what the one before left;
    with one, every step starts from the base."""

    adapt: Name
    """Name of the task, for later steps."""
    source: Annotated[Text, Field(alias="from")]
    """Rows as `BENCHMARK#SPLIT`."""
    n: Annotated[Count, Field(ge=1)]
    """How many rows are drawn."""
    method: Literal["full", "lora", "lota"] = "full"
    """All weights, a low-rank adapter that is merged into them, or a sparse set of weights that a
    calibration has chosen."""
    text: Literal["answer", "refusal"] = "answer"
    """What the rows demonstrate."""
    lr: float = Field(gt=0, le=1)
    """Learning rate of AdamW, constant."""
    steps: Annotated[Count, Field(ge=1, le=100_000)]
    """Optimiser steps."""
    batch_size: int = Field(default=32, ge=1, le=1024)
    """Rows per step."""
    rank: int = Field(default=8, ge=1, le=1024)
    """Rank of the adapter; for `lora`."""
    sparsity: float = Field(default=0.9, gt=0, lt=1)
    """Share of the weights that stay as they are; for `lota`."""
    calibrate_steps: Annotated[Count, Field(ge=1, le=100_000)] | None = None
    """Steps of the calibration of `lota`; absent = as many as `steps`."""
    beside: Name | None = None
    """An earlier task whose weights stay as they are (LoTTO); for `lota` after `lota`."""


class MergeStep(Described):
    """Add what several tasks changed to the base."""

    merge: Literal["sum", "task-arithmetic", "ties", "dare"]
    """How changes are combined."""
    of: Annotated[tuple[Name, ...], Field(min_length=1)]
    """Tasks of earlier steps."""
    weight: float = Field(default=1.0, gt=0, le=10)
    """Factor of every task's change; for `task-arithmetic`, `ties` and `dare`."""
    density: float = Field(default=0.2, gt=0, le=1)
    """Share of every task's change that is kept; for `ties` and `dare`."""


def _which(value: Any) -> str:
    merges = "merge" in value if isinstance(value, dict) else isinstance(value, MergeStep)
    return "merge" if merges else "adapt"


BuildStep = Annotated[
    Annotated[AdaptStep, Tag("adapt")] | Annotated[MergeStep, Tag("merge")], Discriminator(_which)
]
"""One step of `build:`."""


def check_build(steps: tuple[AdaptStep | MergeStep, ...]) -> None:
    """Raises the error of a field where steps do not fit together."""
    known: dict[str, AdaptStep] = {}
    for index, step in enumerate(steps):
        if isinstance(step, MergeStep):
            _check_merge(step, index, len(steps), known)
        else:
            _check_adapt(step, known)
            known[step.adapt] = step


def _check_merge(step: MergeStep, index: int, count: int, known: dict[str, AdaptStep]) -> None:
    if index != count - 1:
        raise complaint("build", "TS-OUT-OF-RANGE", "a merge must be the last step of `build`")
    for name in step.of:
        _require_known(name, known)


def _check_adapt(step: AdaptStep, known: dict[str, AdaptStep]) -> None:
    if step.adapt in known:
        text = f"tasks of `build` must have different names, but {step.adapt!r} comes twice"
        raise complaint("build", "TS-DUPLICATE-ID", text)
    if step.beside is not None:
        _require_known(step.beside, known)
        if step.method != "lota" or known[step.beside].method != "lota":
            text = "`beside` is for `lota` after `lota`: only these change a known set of weights"
            raise complaint("build", "TS-OUT-OF-RANGE", text)


def _require_known(name: str, known: dict[str, AdaptStep]) -> None:
    if name not in known:
        text = f"steps must name earlier tasks of `build`, but {name!r} is none"
        raise complaint("build", "TS-UNKNOWN-NAME", text, name=name, known=list(known))
