"""JPEG: an image is compressed with loss, and opened again."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from threatspec.subjects import Request

__all__ = ["Jpeg"]


class Jpeg:
    """Baseline JPEG at `quality` (1 to 100); colour is kept at half the resolution (4:2:0).

    Source: arXiv 1608.00853.
    """

    def __init__(self, quality: int) -> None:
        self._quality = quality

    def edit(self, image: NDArray[np.uint8], request: Request) -> NDArray[np.uint8]:
        """The image after compression, at the same size and with the same channels."""
        grey = image.shape[2] == 1
        given = Image.fromarray(image[:, :, 0] if grey else image)
        file = io.BytesIO()
        given.save(file, "JPEG", quality=self._quality, subsampling="4:2:0")
        with Image.open(file) as opened:
            found = np.asarray(opened, dtype=np.uint8)
        return found.reshape(image.shape)
