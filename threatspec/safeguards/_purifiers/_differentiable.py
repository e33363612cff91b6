"""What purifiers share that gradients go through: bytes become floats, and bytes again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from threatspec.subjects import Request

__all__ = ["Differentiable"]


class Differentiable(ABC):
    """An edit of images that is its `through`, rounded to bytes."""

    @abstractmethod
    def through(self, batch: torch.Tensor) -> torch.Tensor:
        """Float images in [0, 1], (n, channels, height, width), before and after."""

    def edit(self, image: NDArray[np.uint8], request: Request) -> NDArray[np.uint8]:
        """The image, (height, width, channels), purified; nothing of the request is looked at."""
        batch = torch.from_numpy(image.astype(np.float32) / 255).permute(2, 0, 1)[None]
        with torch.no_grad():
            found = self.through(batch)[0].permute(1, 2, 0)
        rounded: NDArray[np.uint8] = (found * 255).round().clamp(0, 255).to(torch.uint8).numpy()
        return rounded
