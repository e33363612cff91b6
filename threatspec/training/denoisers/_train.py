"""The loop that trains a denoiser on crops of clean images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from threatspec.errors import ThreatspecError
from threatspec.records import ArtefactStore, Stream
from threatspec.subjects import Request
from threatspec.subjects.images import image_of
from threatspec.training._meter import Meter
from threatspec.training.denoisers._job import Denoised, DenoiserJob, denoiser_spend
from threatspec.training.denoisers._net import denoised, first_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["train_denoiser"]


def train_denoiser(job: DenoiserJob, folder: Path, store: ArtefactStore, meter: Meter) -> Denoised:
    """Train one on the CPU: equal jobs leave equal bits.

    Args:
        folder: where images of `file:` are looked for.
        store: where its tensors are kept.
        meter: charged before every step.

    Raises ThreatspecError TS-IMAGE for an image that cannot be used, TS-DIVERGED for a loss that is
    not finite, and BudgetExceeded.
    """
    images = [image_of(_request(row.image, row.pixels), folder) for row in job.rows]
    side = min(job.patch, *(min(image.shape[:2]) for image in images))
    draw = torch.Generator().manual_seed(job.seeds[Stream.TRAIN])
    tensors = first_weights(job.width, job.depth, job.seeds[Stream.INIT])
    with torch.enable_grad():
        _train(tensors, job, images, side, draw, meter)
    kept = {name: tensor.detach() for name, tensor in tensors.items()}
    clean, noisy = _batch(job, images, side, draw)
    with torch.no_grad():
        found = denoised(kept, noisy)
    before, after = (float((seen - clean).square().mean()) for seen in (noisy, found))
    _require_finite(job, after)
    return Denoised(store.save(kept), before, after)


def _train(
    tensors: dict[str, torch.Tensor],
    job: DenoiserJob,
    images: Sequence[NDArray[np.uint8]],
    side: int,
    draw: torch.Generator,
    meter: Meter,
) -> None:
    """In place."""
    optimizer = torch.optim.Adam([one.requires_grad_() for one in tensors.values()], lr=job.lr)
    meter.begin_run()
    for _ in range(job.steps):
        meter.charge(denoiser_spend(job, side, 1))
        clean, noisy = _batch(job, images, side, draw)
        loss = (denoised(tensors, noisy) - clean).square().mean()
        _require_finite(job, float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def _require_finite(job: DenoiserJob, loss: float) -> None:
    """A denoiser whose weights are no numbers makes every image black."""
    if not math.isfinite(loss):
        text = f"the loss of a denoiser must stay finite, but is {loss:g}"
        raise ThreatspecError("TS-DIVERGED", f"{text}; write a lower lr than {job.lr:g}")


def _request(image: str, pixels: Sequence[object]) -> Request:
    return Request(item="", prompt="", image=image, pixels=tuple(pixels))  # type: ignore[arg-type]


def _batch(
    job: DenoiserJob, images: Sequence[NDArray[np.uint8]], side: int, draw: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Crops, and the same with noise, both in [0, 1]: float (batch, 1, side, side)."""
    crops = np.stack([_crop(images, side, draw) for _ in range(job.batch_size)])
    clean = torch.from_numpy(crops.astype(np.float32))[:, None] / 255
    sigma = torch.rand(job.batch_size, 1, 1, 1, generator=draw) * job.noise
    noisy = clean + torch.randn(clean.shape, generator=draw) * sigma
    return clean, noisy.clamp(0, 1)  # as an image holds it


def _crop(
    images: Sequence[NDArray[np.uint8]], side: int, draw: torch.Generator
) -> NDArray[np.uint8]:
    image = images[_below(len(images), draw)]
    top, left = (_below(size - side + 1, draw) for size in image.shape[:2])
    return image[top : top + side, left : left + side, _below(image.shape[2], draw)]


def _below(number: int, draw: torch.Generator) -> int:
    return int(torch.randint(number, (1,), generator=draw))
