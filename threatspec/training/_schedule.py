"""Learning rate by step; the conventions are those of `transformers.get_scheduler`."""

from __future__ import annotations

import math

from threatspec.training._job import Hyperparameters

__all__ = ["learning_rate", "steps_per_epoch"]


def steps_per_epoch(rows: int, batch_size: int, *, drop_last: bool = False) -> int:
    """Optimiser steps in which all rows come once; those that do not fill a batch count as one.

    With `drop_last` they are left out. A batch never has more rows than there are.
    """
    size = max(1, min(batch_size, rows))
    return max(1, rows // size if drop_last else math.ceil(rows / size))


def learning_rate(step: int, hyperparameters: Hyperparameters, rows: int | None = None) -> float:
    """Learning rate used at optimiser step `step`, counted from 0.

    The warm-up rises linearly from 0 (reached at step 0) to the peak (reached after
    `warmup_steps`); linear and cosine schedules would reach `min_lr` one step after the last.
    Restarts begin again at the peak every `cycle_steps` steps (None: one cycle). `step-per-epoch`
    counts epochs of `rows` training rows from the first step, warm-up included.

    Raises ValueError if the schedule counts epochs and `rows` is not given.
    """
    hyper = hyperparameters
    if step < hyper.warmup_steps:
        return hyper.lr * step / hyper.warmup_steps
    after, most = step - hyper.warmup_steps, max(1, hyper.steps - hyper.warmup_steps)
    match hyper.schedule:
        case "constant":
            return hyper.lr
        case "linear":
            return _between(hyper, max(0.0, 1 - after / most))
        case "cosine":
            return _between(hyper, _half_wave(after / most))
        case "cosine-restarts":
            cycle = hyper.cycle_steps or most
            return _between(hyper, _half_wave(after % cycle / cycle))
        case "step-per-epoch":
            return hyper.lr * hyper.decay ** (step // _epoch(hyper, rows))


def _between(hyper: Hyperparameters, share: float) -> float:
    """The rate at `share` of the way from the lowest to the peak."""
    return hyper.min_lr + (hyper.lr - hyper.min_lr) * share


def _half_wave(progress: float) -> float:
    return max(0.0, 0.5 * (1 + math.cos(math.pi * progress)))


def _epoch(hyper: Hyperparameters, rows: int | None) -> int:
    if rows is None:
        raise ValueError("the schedule step-per-epoch must be told how many rows there are")
    return steps_per_epoch(rows, hyper.batch_size, drop_last=hyper.drop_last)
