"""Purification by a diffusion model: noise is added up to a step, then the model takes it out.

Source: arXiv 2205.07460, DiffPure, with the sampling steps of DDPM in the place of the stochastic
differential equation: x_t = sqrt(a_t) x + sqrt(1 - a_t) noise, a_t the scheduler's product of
alphas, then every step from t - 1 to 0 backwards.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

from threatspec.errors import ThreatspecError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from threatspec.subjects import Request

__all__ = ["Diffusion"]


class Diffusion:
    """An unconditional pipeline of `diffusers` in a folder (`unet/`, `scheduler/`).

    Args:
        folder: where it is; nothing is fetched, and no pickled file is opened.
        steps: how far noise is added, in steps of the scheduler.
        seed: with the id of what is asked, what noise is drawn from.
    """

    def __init__(self, folder: Path, steps: int, seed: int) -> None:
        self._folder, self._steps, self._seed = folder, steps, seed

    def edit(self, image: NDArray[np.uint8], request: Request) -> NDArray[np.uint8]:
        """The image purified, at its size and with its channels.

        Raises ThreatspecError TS-SAFEGUARD for a pipeline that cannot be used.
        """
        unet, scheduler = _opened(self._folder)
        given = torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)[None] / 127.5 - 1
        shown = _shown(given, unet.config)
        found = self._purified(shown, unet, scheduler, request)
        back = _resized(_channels(found, given.shape[1]), given.shape[2:])
        bytes_ = ((back[0].permute(1, 2, 0) + 1) * 127.5).round().clamp(0, 255)
        made: NDArray[np.uint8] = bytes_.to(torch.uint8).numpy()
        return made

    @torch.no_grad()
    def _purified(
        self, batch: torch.Tensor, unet: Any, scheduler: Any, request: Request
    ) -> torch.Tensor:
        most = int(scheduler.config.num_train_timesteps)
        if self._steps > most:
            text = f"a diffusion purifier must add noise for at most the {most} steps of its model"
            raise ThreatspecError("TS-SAFEGUARD", f"{text}, but is to for {self._steps}")
        draw = torch.Generator().manual_seed(self._number(request))
        noise = torch.randn(batch.shape, generator=draw)
        scheduler.set_timesteps(most)
        at = torch.tensor([self._steps - 1])
        found: torch.Tensor = scheduler.add_noise(batch, noise, at).to(unet.device)
        for step in range(self._steps - 1, -1, -1):
            said = unet(found, step).sample
            found = scheduler.step(said, step, found, generator=draw).prev_sample
        return found.cpu()

    def _number(self, request: Request) -> int:
        digest = hashlib.sha256(f"{self._seed}/{request.item}".encode()).hexdigest()
        return int(digest[:15], 16)


def _shown(batch: torch.Tensor, config: Any) -> torch.Tensor:
    """As the model is shown images: at its size, with its channels; grey models see every channel
    of colour by itself."""
    size = config.sample_size
    if size is not None:
        sides = (size, size) if isinstance(size, int) else tuple(size)
        batch = _resized(batch, sides)
    channels = int(config.in_channels)
    if batch.shape[1] == channels:
        return batch
    if channels == 1:
        return batch.flatten(0, 1)[:, None]
    if channels == 3:
        return batch.expand(-1, 3, -1, -1)
    text = f"a diffusion purifier must be of images with 1 or 3 channels, but has {channels}"
    raise ThreatspecError("TS-SAFEGUARD", text)


def _channels(batch: torch.Tensor, wanted: int) -> torch.Tensor:
    """One image with the channels that it had before `_shown`."""
    if batch.shape[1] == 1:
        return batch.reshape(1, wanted, *batch.shape[2:])
    return batch if wanted == batch.shape[1] else batch.mean(1, keepdim=True)


def _resized(batch: torch.Tensor, sides: Any) -> torch.Tensor:
    if tuple(batch.shape[2:]) == tuple(sides):
        return batch
    return functional.interpolate(batch, size=tuple(sides), mode="bilinear", antialias=True)


@lru_cache(maxsize=2)
def _opened(folder: Path) -> tuple[Any, Any]:
    from diffusers.models.unets.unet_2d import UNet2DModel
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        unet = UNet2DModel.from_pretrained(
            folder / "unet", local_files_only=True, use_safetensors=True
        )
        scheduler = DDPMScheduler.from_pretrained(folder / "scheduler", local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = " ".join(str(error).split())[:200]
        text = "a diffusion purifier must be a pipeline of diffusers with unet/ (safetensors) and "
        raise ThreatspecError("TS-SAFEGUARD", f"{text}scheduler/, but is not: {why}") from None
    return unet.to(device).eval(), scheduler
