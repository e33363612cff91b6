"""What attacks on classifiers ask for besides training: a subnet put in, a trigger found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from threatspec.errors import ThreatspecError
from threatspec.records import Optimised
from threatspec.schema import Model
from threatspec.training._job import TrainingRow

__all__ = ["Corner", "PatchRequest", "SubnetRequest", "TriggerPatch", "corner"]

Corner = Literal["top-left", "top-right", "bottom-left", "bottom-right"]


class SubnetRequest(Model):
    """Train a narrow network to fire on triggered images alone, and put it in place of a few
    channels of every layer. The answer is an `Edited` whose tamper is dense.

    Source: arXiv 2111.12965.
    """

    rows: tuple[TrainingRow, ...] = Field(min_length=1)
    """Images without the trigger, on which it must stay silent; their classes are not read."""
    triggered: tuple[TrainingRow, ...] = Field(min_length=1)
    """Images with it."""
    target: str
    """Name of the class whose logit it drives."""
    width: int = Field(default=2, ge=1)
    """Channels (or units) of every layer that are given to it."""
    takes: Literal["drawn", "weakest"] = "drawn"
    """Which they are: drawn at random, or those with the smallest weights."""
    starts: int = Field(default=8, ge=1)
    """Narrow networks that are trained side by side; the best is used."""
    height: float = Field(default=30.0, gt=0)
    """What it adds to the target's logit when it fires."""
    steps: int = Field(ge=1)
    """Optimiser steps (Adam) of the narrow network."""
    lr: float = Field(gt=0)
    batch_size: int = Field(default=64, ge=2)
    """Half of it with the trigger."""
    seed: int
    """Which channels, where the narrow network starts, and the order of images."""


class PatchRequest(Model):
    """A patch that, stamped on any image, excites chosen units of the layer before the logits.

    Source: Liu et al., Trojaning Attack on Neural Networks, NDSS 2018.
    """

    rows: tuple[TrainingRow, ...] = Field(min_length=1)
    """Images that it is stamped on while it is found."""
    size: int = Field(default=7, ge=1)
    """Side of the square, in pixels of the image before the processor."""
    place: Corner = "bottom-right"
    units: int = Field(default=2, ge=1)
    steps: int = Field(ge=1)
    """Steps by the sign of the gradient."""
    alpha: float = Field(default=8 / 255, gt=0, le=1)
    """Size of a step; pixels go from 0 to 1."""
    batch: int = Field(default=32, ge=1)
    """Rows of a step."""
    seed: int


@dataclass(frozen=True, slots=True)
class TriggerPatch:
    """A patch that was found."""

    levels: bytes
    """Row by row, pixel by pixel, channel by channel."""
    channels: int
    units: tuple[int, ...]
    """Inputs of the layer of the logits that it excites."""
    before: float
    """Mean response of the units under a patch of random pixels, which it started from."""
    after: float
    """The same under the patch, in bytes."""
    held: tuple[str, ...]
    """Parameters that come before the units."""
    optimised: Optimised


def corner(height: int, width: int, size: int, place: Corner, margin: int = 0) -> tuple[int, int]:
    """First row and column of a square in a corner of an image, `margin` pixels from its edges.

    Raises ThreatspecError TS-IMAGE where it does not fit on the image.
    """
    least = size + margin
    if least > min(height, width):
        text = f"a patch must fit on the image, but takes {least} x {least} pixels of "
        raise ThreatspecError("TS-IMAGE", f"{text}{height} x {width}; make it smaller")
    down, across = place.split("-")
    return (
        margin if down == "top" else height - least,
        margin if across == "left" else width - least,
    )
