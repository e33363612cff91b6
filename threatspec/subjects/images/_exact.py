"""From requests to what a model sees: every edit, then the model's own processor, byte for byte."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from threatspec.errors import ThreatspecError
from threatspec.subjects._request import Request
from threatspec.subjects.images._processing import exact
from threatspec.subjects.images._read import image_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Bytes = NDArray[np.uint8]

__all__ = ["exact_pixels"]

Seen = torch.Tensor | ThreatspecError


def exact_pixels(
    processor: Any, requests: Sequence[Request], folder: Path, channels: int, size: tuple[int, int]
) -> list[Seen]:
    """Each request's image as the model sees it, or the TS-IMAGE why there is none.

    Args:
        processor: an image processor of `transformers`.
        folder: where images of `file:` are looked for.
        channels: 1 or 3, which the model sees.
        size: height and width that the model sees; (0, 0): any.

    Returns: float tensors (channels, height, width), on the CPU.
    """
    images = [_read(request, folder, channels) for request in requests]
    found: list[Seen] = [e if isinstance(e, ThreatspecError) else torch.empty(0) for e in images]
    for numbers in _alike(images):
        batch = exact(processor, [cast("Bytes", images[n]) for n in numbers])
        for n, pixels in zip(numbers, batch, strict=True):
            found[n] = _sized(pixels, size, requests[n].image)
    return found


def _read(request: Request, folder: Path, channels: int) -> Bytes | ThreatspecError:
    if not request.image:
        return ThreatspecError("TS-IMAGE", "a classifier must be shown an image, but got none")
    try:
        image = image_of(request, folder)
    except ThreatspecError as error:
        if error.code != "TS-IMAGE":
            raise
        return error
    if image.shape[2] <= channels:
        return image.repeat(channels // image.shape[2], axis=2)
    text = f"{request.image} must be grey for this model, but has colours; convert it first"
    return ThreatspecError("TS-IMAGE", text)


def _alike(images: Sequence[Bytes | ThreatspecError]) -> Iterable[list[int]]:
    """Numbers of images of one shape, processed together: several times faster."""
    found: dict[tuple[int, ...], list[int]] = {}
    for n, image in enumerate(images):
        if not isinstance(image, ThreatspecError):
            found.setdefault(image.shape, []).append(n)
    return found.values()


def _sized(pixels: torch.Tensor, size: tuple[int, int], ref: str) -> Seen:
    shape = (int(pixels.shape[-2]), int(pixels.shape[-1]))
    if size in {(0, 0), shape}:
        return pixels
    text = f"{ref} must reach the model with {size[0]} x {size[1]} pixels, but has {shape[0]} x "
    return ThreatspecError("TS-IMAGE", f"{text}{shape[1]}, and its processor does not resize")
