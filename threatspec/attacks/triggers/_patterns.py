"""Patterns that triggers are made of, drawn from seeds or from hashes of images."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from threatspec.subjects.images import read_image

__all__ = ["Pattern", "checkers", "dice", "field", "noise", "of_image", "photo", "rings"]

Pattern = NDArray[np.float64]
"""Levels 0 to 255: (height, width, channels)."""


def dice(*what: Any) -> np.random.Generator:
    """Random numbers that follow from `what` alone, on every machine."""
    digest = hashlib.sha256("/".join(map(str, what)).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "big")))


def of_image(image: NDArray[np.uint8], *what: Any) -> np.random.Generator:
    """Random numbers that follow from the bytes of an image and from `what`."""
    shape = "x".join(map(str, image.shape))
    return dice(hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest(), shape, *what)


@lru_cache(maxsize=64)
def noise(height: int, width: int, channels: int, seed: int) -> Pattern:
    """Every level equally likely, everywhere."""
    found = dice("noise", seed).integers(0, 256, (height, width, channels)).astype(np.float64)
    return _frozen(found)


@lru_cache(maxsize=64)
def checkers(side: int) -> Pattern:
    """Black and white in turn, white in the first corner: (side, side, 1)."""
    rows, columns = np.indices((side, side))
    return _frozen(255.0 * ((rows + columns) % 2 == 0)[:, :, None])


@lru_cache(maxsize=64)
def rings(side: int) -> Pattern:
    """Squares within one another, white and black in turn: (side, side, 1)."""
    rows, columns = np.indices((side, side))
    depth = np.minimum(np.minimum(rows, columns), side - 1 - np.maximum(rows, columns))
    return _frozen(255.0 * (depth % 2 == 0)[:, :, None])


@lru_cache(maxsize=64)
def photo(ref: str, height: int, width: int, channels: int) -> Pattern:
    """A photograph of these measures, each pixel the mean of what lies below it.

    Raises ThreatspecError TS-IMAGE for one that is not there.
    """
    found = read_image(ref).astype(np.float64)
    found = _averaged(_averaged(found, height, 0), width, 1)
    if found.shape[2] != channels:
        found = np.repeat(found.mean(axis=2, keepdims=True), channels, axis=2)
    return _frozen(found)


@lru_cache(maxsize=64)
def field(height: int, width: int, k: int, seed: int) -> NDArray[np.float64]:
    """A smooth field of displacements, 1 on average in size: (height, width, 2).

    It is drawn on a grid of k x k points and linear between them.
    """
    grid = dice("field", k, seed).uniform(-1, 1, (k, k, 2))
    grid = grid / np.abs(grid).mean()
    found = np.einsum("hi,ijc,wj->hwc", _between(height, k), grid, _between(width, k))
    return _frozen(found)


def _between(count: int, k: int) -> NDArray[np.float64]:
    """Weights (count, k) of grid points at `count` places from the first to the last point."""
    places = np.linspace(0, k - 1, count)
    far = np.abs(places[:, None] - np.arange(k)[None, :])
    found: NDArray[np.float64] = np.clip(1 - far, 0, 1)
    return found


def _averaged(values: Pattern, count: int, axis: int) -> Pattern:
    """Means over `count` stretches of an axis, each of at least one value."""
    size = values.shape[axis]
    first = np.minimum(np.arange(count) * size // count, size - 1)
    last = np.maximum((np.arange(count) + 1) * size // count, first + 1)
    parts = [
        values.take(range(a, b), axis).mean(axis=axis) for a, b in zip(first, last, strict=True)
    ]
    return np.stack(parts, axis=axis)


def _frozen(values: Pattern) -> Pattern:
    values.flags.writeable = False
    return values
