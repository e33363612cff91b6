"""Blurs: every pixel becomes a weighted mean of those around it; edges are continued outwards."""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from threatspec.safeguards._purifiers._differentiable import Differentiable

__all__ = ["Blur", "gaussian", "mean"]


class Blur(Differentiable):
    """A convolution with the same weights along rows and columns.

    Args:
        weights: an odd number of them that sum to 1, from one side to the other.
    """

    def __init__(self, weights: tuple[float, ...]) -> None:
        self._weights = weights

    def through(self, batch: torch.Tensor) -> torch.Tensor:
        """Blurred, at the same size."""
        reach, channels = len(self._weights) // 2, batch.shape[1]
        line = batch.new_tensor(self._weights).expand(channels, 1, 1, -1)
        found = functional.pad(batch, (reach, reach, reach, reach), mode="replicate")
        found = functional.conv2d(found, line, groups=channels)
        return functional.conv2d(found, line.transpose(2, 3), groups=channels)


def gaussian(sigma: float) -> Blur:
    """Weights of a normal distribution of standard deviation `sigma` pixels, cut off after 3."""
    reach = math.ceil(3 * sigma)
    raw = [math.exp(-0.5 * (x / sigma) ** 2) for x in range(-reach, reach + 1)]
    return Blur(tuple(weight / sum(raw) for weight in raw))


def mean(kernel: int) -> Blur:
    """The mean of a square of `kernel` x `kernel` pixels, an odd number."""
    return Blur((1 / kernel,) * kernel)
