"""Learning rate by step; the conventions are those of `transformers.get_scheduler`."""

from __future__ import annotations

import math

from threatspec.training._job import Hyperparameters

__all__ = ["learning_rate"]


def learning_rate(step: int, hyperparameters: Hyperparameters) -> float:
    """Learning rate used at optimiser step `step`, counted from 0.

    The warm-up rises linearly from 0 (reached at step 0) to the peak (reached after
    `warmup_steps`); linear and cosine schedules would reach 0 one step after the last.
    """
    warmup, total = hyperparameters.warmup_steps, hyperparameters.steps
    if step < warmup:
        return hyperparameters.lr * step / warmup
    progress = (step - warmup) / max(1, total - warmup)
    match hyperparameters.schedule:
        case "constant":
            return hyperparameters.lr
        case "linear":
            return hyperparameters.lr * max(0.0, 1 - progress)
        case "cosine":
            return hyperparameters.lr * max(0.0, 0.5 * (1 + math.cos(math.pi * progress)))
