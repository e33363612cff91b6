"""The denoiser itself: plain tensors by name, and what they make of a batch."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch.nn import functional

__all__ = ["denoised", "first_weights"]


def first_weights(width: int, depth: int, seed: int) -> dict[str, torch.Tensor]:
    """Normal weights of variance 2 / inputs; the last convolution is 0, so that nothing is taken
    for noise at first."""
    draw = torch.Generator().manual_seed(seed)
    found: dict[str, torch.Tensor] = {}
    for layer in range(depth):
        inputs, outputs = 1 if layer == 0 else width, 1 if layer == depth - 1 else width
        scale = 0.0 if layer == depth - 1 else (2 / (9 * inputs)) ** 0.5
        drawn = torch.randn(outputs, inputs, 3, 3, generator=draw)
        found[f"weight.{layer}"] = drawn * scale
        found[f"bias.{layer}"] = torch.zeros(outputs)
    return found


def denoised(tensors: Mapping[str, torch.Tensor], batch: torch.Tensor) -> torch.Tensor:
    """Float images (n, channels, height, width) without what is taken for noise, not yet cut to
    [0, 1]; every channel by itself."""
    alone = batch.flatten(0, 1)[:, None]
    hidden, depth = alone, len(tensors) // 2
    for layer in range(depth):
        weight, bias = (tensors[f"{part}.{layer}"].to(batch) for part in ("weight", "bias"))
        hidden = functional.conv2d(hidden, weight, bias, padding=1)
        if layer < depth - 1:
            hidden = functional.relu(hidden)
    return (alone - hidden).reshape(batch.shape)
