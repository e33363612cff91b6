"""What a processor of `transformers` makes of images, exactly, and so that gradients go through.

`exact` asks the processor itself: what a subject is shown. `processed` computes the same in torch,
without the rounding to bytes between the steps: at most one byte off, and differentiable. Resizing
is a product with the weights that Pillow uses, which widen as an image shrinks (antialiasing);
torch's own resizing has no deterministic backward pass on a GPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

from threatspec.errors import ThreatspecError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["exact", "kept_share", "misfit", "processed"]

Size = tuple[int, int]
_CROP_SIDE = 384
"""Processors with a `crop_pct` cut nothing off from this side on."""


def exact(processor: Any, images: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
    """What the processor makes of images (height, width, channels): (n, channels, height, width).

    Raises ThreatspecError TS-IMAGE for colour shown to a model of grey images, or images that do
    not come out at one size.
    """
    channels = _channels(processor)
    given = [_in_channels(image, channels) for image in images]
    made = processor(images=given, input_data_format="channels_last")["pixel_values"]
    if len({np.shape(one) for one in made}) > 1:
        text = "images must come out of the processor at one size, but some do not; resize them"
        raise ThreatspecError("TS-IMAGE", f"{text} first")
    return torch.from_numpy(np.stack([np.asarray(one, dtype=np.float32) for one in made]))


def processed(processor: Any, batch: torch.Tensor) -> torch.Tensor:
    """What the processor makes of a batch in [0, 1], (n, channels, height, width), before and
    after; gradients go through.

    Raises ThreatspecError TS-IMAGE for colour shown to a model of grey images.
    """
    channels = _channels(processor)
    if batch.shape[1] == 1 and channels == 3:
        batch = batch.expand(-1, 3, -1, -1)
    _check_channels(batch.shape[1], channels)
    found = batch * 255
    resized, cropped = _sizes(processor, (batch.shape[2], batch.shape[3]))
    found = _resized(found, resized, int(_first(processor, "resample", 2)))
    found = _cropped(found, cropped)
    if getattr(processor, "do_rescale", False):
        found = found * float(processor.rescale_factor)
    if getattr(processor, "do_normalize", False):
        found = (found - _per_channel(processor.image_mean, found)) / _per_channel(
            processor.image_std, found
        )
    return found


def kept_share(processor: Any, height: int, width: int) -> float:
    """Share of an image's area that the processor does not crop away."""
    resized, cropped = _sizes(processor, (height, width))
    pairs = zip(resized, cropped, strict=True)
    return math.prod(min(kept, whole) / whole for whole, kept in pairs)


def misfit(processor: Any, image: NDArray[np.uint8]) -> float:
    """How far `processed` is from `exact` at worst, in bytes (1/255); infinite for other shapes.

    Resizing rounds twice, and a processor that is emulated stays below 2; one far above does
    something that is not known here (tiles, padding), and a gradient through it would be wrong.
    """
    there = exact(processor, [image])
    here = processed(processor, torch.from_numpy(image.copy()).permute(2, 0, 1)[None] / 255)
    if here.shape != there.shape:
        return math.inf
    unit = torch.full_like(here, float(getattr(processor, "rescale_factor", 1 / 255)))
    if not getattr(processor, "do_rescale", False):
        unit = torch.ones_like(here)
    if getattr(processor, "do_normalize", False):
        unit = unit / _per_channel(processor.image_std, here)
    return float(((here - there).abs() / unit).max())


def _first(processor: Any, name: str, default: Any) -> Any:
    found = getattr(processor, name, None)
    return default if found is None else found


def _channels(processor: Any) -> int | None:
    """How many the model's images have; None if the processor does not say."""
    mean = getattr(processor, "image_mean", None)
    if getattr(processor, "do_convert_rgb", False):
        return 3
    if getattr(processor, "do_normalize", False) and isinstance(mean, (list, tuple)):
        return len(mean)
    return None


def _check_channels(given: int, wanted: int | None) -> None:
    if wanted is not None and given != wanted:
        text = f"images must have {wanted} channel{'s' * (wanted > 1)} for this model, but one has"
        raise ThreatspecError("TS-IMAGE", f"{text} {given}; convert it first")


def _in_channels(image: NDArray[np.uint8], wanted: int | None) -> NDArray[np.uint8]:
    if image.shape[2] == 1 and wanted == 3:
        return np.repeat(image, 3, axis=2)
    _check_channels(image.shape[2], wanted)
    return image


def _per_channel(values: Any, batch: torch.Tensor) -> torch.Tensor:
    """One number for all channels, or one for each, to be broadcast over a batch."""
    return torch.as_tensor(values, dtype=batch.dtype, device=batch.device).reshape(1, -1, 1, 1)


def _side(size: Any, name: str) -> int | None:
    found = size.get(name) if isinstance(size, dict) else getattr(size, name, None)
    return int(found) if found else None


def _sizes(processor: Any, given: Size) -> tuple[Size, Size]:
    """Height and width after resizing, and after the crop in the middle."""
    resized = given
    size, crop = getattr(processor, "size", None), getattr(processor, "crop_size", None)
    if getattr(processor, "do_resize", False):
        edge, share = _side(size, "shortest_edge"), getattr(processor, "crop_pct", None)
        if edge and share and edge < _CROP_SIDE:
            return _by_edge(given, int(edge / share)), (edge, edge)
        if edge and share:
            return (edge, edge), (edge, edge)
        resized = _new_size(size, given)
    if getattr(processor, "do_center_crop", False):
        return resized, (_side(crop, "height") or 0, _side(crop, "width") or 0)
    return resized, resized


def _new_size(size: Any, given: Size) -> Size:
    edge = _side(size, "shortest_edge")
    height, width = _side(size, "height"), _side(size, "width")
    if edge and not _side(size, "longest_edge"):
        return _by_edge(given, edge)
    if height and width:
        return height, width
    text = f"a processor must resize to height and width, or by its shortest edge, but has {size}"
    raise ThreatspecError("TS-IMAGE", f"{text}; use another model")


def _by_edge(given: Size, edge: int) -> Size:
    """The shorter side gets `edge`, the longer what keeps the proportions, rounded down."""
    longer = int(edge * max(given) / min(given))
    return (edge, longer) if given[0] <= given[1] else (longer, edge)


def _resized(batch: torch.Tensor, size: Size, resample: int) -> torch.Tensor:
    """Width first, then height, each cut to the range of bytes: filters overshoot at edges."""
    height, width = batch.shape[2:]
    if width != size[1]:
        batch = (batch @ _weights(width, size[1], resample).to(batch).T).clamp(0, 255)
    if height != size[0]:
        batch = (_weights(height, size[0], resample).to(batch) @ batch).clamp(0, 255)
    return batch


def _cropped(batch: torch.Tensor, size: Size) -> torch.Tensor:
    """The middle; where there is less than that, black around it."""
    top, left = ((batch.shape[axis + 2] - size[axis]) // 2 for axis in (0, 1))
    bottom = top + size[0] - batch.shape[2]
    right = left + size[1] - batch.shape[3]
    return functional.pad(batch, (-left, right, -top, bottom))  # a negative pad cuts off


@lru_cache(maxsize=32)
def _weights(before: int, after: int, resample: int) -> torch.Tensor:
    """What every pixel before gives to every pixel after: [after, before]."""
    scale = before / after
    centres = (np.arange(after) + 0.5) * scale
    if resample == 0:
        summed = np.cumsum([scale / 2, *[scale] * (after - 1)])  # as Pillow does, errors included
        return torch.eye(before, dtype=torch.float64)[summed.astype(int)]
    shape, support = _filter(resample)
    stretch = max(scale, 1.0)
    first = np.maximum(0, (centres - support * stretch + 0.5).astype(int))
    last = np.minimum(before, (centres + support * stretch + 0.5).astype(int))
    places = np.arange(before)
    found = shape((places[None, :] + 0.5 - centres[:, None]) / stretch)
    found = np.where((places >= first[:, None]) & (places < last[:, None]), found, 0.0)
    return torch.from_numpy(found / found.sum(axis=1, keepdims=True))


def _filter(resample: int) -> tuple[Callable[[NDArray[Any]], NDArray[Any]], float]:
    """Pillow's filters by their numbers, each with how far it reaches, in pixels after."""
    known = {1: (_lanczos, 3.0), 2: (_triangle, 1.0), 3: (_cubic, 2.0), 4: (_box, 0.5)}
    if resample not in known:
        text = f"a processor must resize by filters 0 to 4 of Pillow, but has {resample}"
        raise ThreatspecError("TS-IMAGE", f"{text}; use another model")
    return known[resample]


def _box(x: NDArray[Any]) -> NDArray[Any]:
    return ((x > -0.5) & (x <= 0.5)).astype(float)


def _triangle(x: NDArray[Any]) -> NDArray[Any]:
    found: NDArray[Any] = np.maximum(0.0, 1.0 - np.abs(x))
    return found


def _cubic(x: NDArray[Any]) -> NDArray[Any]:
    """Keys' kernel with a = -1/2."""
    far, a = np.abs(x), -0.5
    near = ((a + 2) * far - (a + 3)) * far**2 + 1
    outer = a * (((far - 5) * far + 8) * far - 4)
    return np.where(far < 1, near, np.where(far < 2, outer, 0.0))


def _lanczos(x: NDArray[Any]) -> NDArray[Any]:
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0.0)
