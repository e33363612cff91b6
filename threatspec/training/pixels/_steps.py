"""Start, step and projection of a change of pixels, in floats: (1, channels, height, width)."""

from __future__ import annotations

import numpy as np
import torch

from threatspec.training.pixels._ask import PerturbationRequest
from threatspec.training.pixels._bytes import Norm
from threatspec.training.pixels._canvas import Canvas

__all__ = ["moved", "projected", "started"]

_TINY = 1e-12


def started(canvas: Canvas, request: PerturbationRequest, number: int) -> torch.Tensor:
    """Where a restart begins: uniform in the ball of `linf`, in a random direction of `l2` up to
    its radius, and without a ball an image of uniform noise."""
    draw = np.random.default_rng([request.seed, 0, number])
    height, width, channels = canvas.shape
    shape = (1, channels, height, width)
    if request.norm == "none" and canvas.shared:
        change = torch.from_numpy(draw.random(shape, dtype=np.float32)).to(canvas.device)
        return change - canvas.painted(torch.zeros_like(change), [0])
    if request.norm == "l2":
        normal = draw.standard_normal(shape)
        normal *= request.eps * draw.random() / max(np.sqrt(np.mean(normal**2)), _TINY)
        change = torch.from_numpy(normal).float()
    else:
        reach = request.eps if request.norm == "linf" else 1.0
        change = torch.from_numpy(draw.uniform(-reach, reach, shape)).float()
    return projected(change.to(canvas.device), canvas, request.norm, request.eps)


def moved(change: torch.Tensor, slope: torch.Tensor, norm: Norm, alpha: float) -> torch.Tensor:
    """One step down: by the gradient's sign, or of `l2` along it by so much in root mean square."""
    if norm == "l2":
        return change - alpha * slope / _size(slope)
    return change - alpha * slope.sign()


def projected(change: torch.Tensor, canvas: Canvas, norm: Norm, eps: float) -> torch.Tensor:
    """Into the ball, then to where a shared image stays one; the second leads out of no ball."""
    if norm == "linf":
        change = change.clamp(-eps, eps)
    elif norm == "l2":
        change = change * (eps / _size(change)).clamp(max=1)
    if canvas.shared:
        clean = canvas.painted(torch.zeros_like(change), [0])
        return (clean + change).clamp(0, 1) - clean
    return change.clamp(-1, 1)


def _size(change: torch.Tensor) -> torch.Tensor:
    """Root mean square over the whole image."""
    return change.square().mean().sqrt().clamp(min=_TINY)
