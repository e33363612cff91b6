"""The job of training a small network that takes noise out of images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import Field

from threatspec.records import Spend, Stream
from threatspec.schema import Model
from threatspec.training._job import TrainingRow

__all__ = ["Denoised", "DenoiserJob", "denoiser_spend"]


class DenoiserJob(Model):
    """Clean images, and how a denoiser is trained on them with noise that is drawn anew.

    The network f has `depth` convolutions of 3 x 3, sees one channel at a time and subtracts what
    it takes for noise: min over f of E |x + n - f(x + n) - x|^2, with n normal of a standard
    deviation that is uniform between 0 and `noise` (after arXiv 1608.03981, without batch norm);
    x + n is cut to [0, 1], as an image holds no more.
    """

    rows: tuple[TrainingRow, ...] = Field(min_length=1)
    """`image`, with `pixels` done to it, is clean; nothing else of a row is read."""
    seeds: Mapping[Stream, int]
    """`init` draws the first weights, `train` crops and noise."""
    noise: float = Field(gt=0, le=1)
    """Standard deviation of the strongest noise; pixels go from 0 to 1."""
    lr: float = Field(gt=0, le=1)
    """Of Adam, constant."""
    steps: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    """Crops of a step, each of one channel."""
    patch: int = Field(ge=1)
    """Side of a crop in pixels; smaller where an image is."""
    width: int = Field(ge=1)
    """Channels between convolutions."""
    depth: int = Field(ge=2)
    """Convolutions."""


@dataclass(frozen=True, slots=True)
class Denoised:
    """A denoiser that was trained."""

    artefact: str
    """Its tensors."""
    before: float
    """Mean squared error of the rows' noisy crops, of a last draw that it was not trained on."""
    after: float
    """The same once they went through it."""


def denoiser_spend(job: DenoiserJob, side: int, steps: int) -> Spend:
    """Of `steps` steps on crops of `side` x `side` pixels: forward, and twice as much backward."""
    weights = 9 * (2 * job.width + (job.depth - 2) * job.width**2)
    pixels = steps * job.batch_size * side**2
    return Spend(steps=steps, flops=6.0 * weights * pixels)
