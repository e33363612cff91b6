"""The job of training an image classifier on labelled images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from threatspec.records import Stream
from threatspec.schema import Model
from threatspec.training._job import TrainingRow

__all__ = ["ClassifierJob"]


class ClassifierJob(Model):
    """Labelled images, and how a classifier is trained on them. The answer is a `Trajectory` whose
    tampers are dense and hold buffers (statistics of batch norm) as well as parameters."""

    rows: tuple[TrainingRow, ...]
    """`image` with `pixels` done to it, and `answer`, the name of its class."""
    seeds: Mapping[Stream, int]
    """`order` shuffles each epoch, `init` starts from scratch, `train` draws dropout."""
    lr: float = Field(ge=0)
    """Learning rate at the first step."""
    steps: int = Field(ge=1)
    """Optimiser steps; an epoch that is not finished goes on where rows are left."""
    batch_size: int = Field(default=64, ge=2)
    optimizer: Literal["sgd", "adam"] = "sgd"
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Of `sgd`."""
    nesterov: bool = False
    weight_decay: float = Field(default=0.0, ge=0)
    decay_at: tuple[int, ...] = ()
    """Steps from which on the rate is multiplied by `decay` once more."""
    decay: float = Field(default=0.1, gt=0, le=1)
    start: Literal["subject", "scratch"] = "subject"
    """From the subject's weights as they are mounted, or from new ones drawn by `init`."""
    batch_norm: Literal["train", "frozen"] = "train"
    """Whether batches are normalised by their own statistics, which are learned on the way, or by
    those that the model has."""
    held: tuple[str, ...] = ()
    """Parameters, by prefixes of their names, that stay as they are."""
    keep: tuple[int, ...] = ()
    """Steps after which the weights are kept besides the last."""
