"""Did two trainings do the same, and did one do what was asked? Read from realised training only.

Nominal settings are not comparable between back-ends: the rate of each step, the tokens with loss
and the clipped steps are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from threatspec.records import Realised
from threatspec.training._job import Hyperparameters
from threatspec.training._schedule import learning_rate

__all__ = ["Difference", "in_words", "realised_differences", "schedule_departure"]

_RATE = 1e-6
"""Relative difference of learning rates that rounding explains."""
_READING = 0.01
"""Relative difference of losses and norms that another order of additions explains."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One respect in which two trainings differ."""

    what: str
    """`steps`, `rows`, `trainable`, `frozen`, `clip_events`, `lr`, `loss_tokens`, `probe` or
    `weights`."""
    first: str
    """Of the first training, in words."""
    second: str
    steps: tuple[int, ...] = ()
    """Optimiser steps at which they differ, counted from 1; empty where it is one number."""


def realised_differences(first: Realised, second: Realised) -> tuple[Difference, ...]:
    """All respects in which two trainings that were asked for the same differ; empty if in none."""
    return tuple(_differences(first, second))


def _differences(a: Realised, b: Realised) -> Iterator[Difference]:
    for what, name in _COUNTS.items():
        if getattr(a, name) != getattr(b, name):
            yield Difference(what, _count(a, name), _count(b, name))
    yield from _by_step("lr", a.lr, b.lr, _RATE)
    yield from _by_step("loss_tokens", a.loss_tokens, b.loss_tokens, 0.0)
    for what, name in (("probe", "probe_after"), ("weights", "weight_delta")):
        if not _near(getattr(a, name), getattr(b, name), _READING):
            yield Difference(what, f"{getattr(a, name):.4g}", f"{getattr(b, name):.4g}")


def _by_step(
    what: str, first: Sequence[float], second: Sequence[float], tolerance: float
) -> Iterator[Difference]:
    """Differences of what is known at every step; steps that only one has are not told again."""
    if not first or not second:
        if first or second:
            yield Difference(what, _known(first), _known(second))
        return
    pairs = enumerate(zip(first, second, strict=False), start=1)
    apart = tuple(step for step, (a, b) in pairs if not _near(a, b, tolerance))
    if apart:
        at = apart[0] - 1
        yield Difference(what, f"{first[at]:.4g}", f"{second[at]:.4g}", apart)


def _near(a: float, b: float, tolerance: float) -> bool:
    return abs(a - b) <= tolerance * max(abs(a), abs(b))


def _known(values: Sequence[float]) -> str:
    return f"known for {len(values)} steps" if values else "not told"


def _count(realised: Realised, name: str) -> str:
    """A number; of what a service keeps to itself there is none."""
    value: int = getattr(realised, name)
    return "not told" if name == "trainable" and not value else str(value)


_COUNTS = {
    "steps": "steps",
    "rows": "rows",
    "trainable": "trainable",
    "frozen": "frozen",
    "clip_events": "clipped",
}
_NAMES = {
    "steps": "optimiser steps",
    "rows": "distinct rows",
    "trainable": "parameters that could move",
    "frozen": "weights that a mask held",
    "lr": "learning rate",
    "loss_tokens": "tokens with loss",
    "clip_events": "clipped steps",
    "probe": "loss on the rows at the end",
    "weights": "distance the weights moved",
}


def in_words(differences: Sequence[Difference], first: str, second: str) -> tuple[str, ...]:
    """One sentence for each difference between the back-ends called `first` and `second`."""
    return tuple(_sentence(difference, first, second) for difference in differences)


def _sentence(difference: Difference, first: str, second: str) -> str:
    name = _NAMES[difference.what]
    values = f"{difference.first} with {first}, {difference.second} with {second}"
    if not difference.steps:
        return f"{name}: {values}"
    steps = difference.steps
    where = f"step {steps[0]}" if len(steps) == 1 else f"{len(steps)} steps, first {steps[0]}"
    return f"{name}: {values} ({where})"


def schedule_departure(
    hyperparameters: Hyperparameters, realised: Realised, rows: int | None = None
) -> str:
    """How a training departs from the steps and rates it was asked for; empty if it does not.

    A back-end that does not tell its rates departs from none; `realised_differences` says that they
    are not known. Steps of a fine-tuning service are its own.

    Args:
        hyperparameters: what was asked for.
        realised: what happened.
        rows: training rows, for schedules that count epochs; None: all were distinct.
    """
    if hyperparameters.hosted and not realised.lr:
        return ""
    if realised.steps != hyperparameters.steps:
        return f"{realised.steps} of {hyperparameters.steps} planned steps were executed"
    count = rows or realised.rows
    planned = [learning_rate(step, hyperparameters, count) for step in range(len(realised.lr))]
    wrong = [i for i, (a, b) in enumerate(zip(planned, realised.lr, strict=True))
             if not _near(a, b, _RATE)]  # fmt: skip
    if not wrong:
        return ""
    step = wrong[0]
    return (
        f"the learning rate departs from its schedule at {len(wrong)} of {len(planned)} steps: "
        f"step {step + 1} used {realised.lr[step]:.3g} and should have used {planned[step]:.3g}"
        + _warmup(hyperparameters, realised)
    )


def _warmup(hyperparameters: Hyperparameters, realised: Realised) -> str:
    """Where the rate rose to its peak, if that is not where the warm-up should have ended."""
    planned = hyperparameters.warmup_steps
    peak = hyperparameters.lr * (1 - _RATE)
    reached = next((i for i, rate in enumerate(realised.lr) if rate >= peak), None)
    if not planned or reached == planned:
        return ""
    found = "never reached" if reached is None else f"reached after {reached} steps"
    return f"; the peak was {found}, and the warm-up has {planned}"
