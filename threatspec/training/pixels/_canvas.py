"""What a search paints on: one image that all rows are shown, or every row's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from threatspec.errors import ThreatspecError
from threatspec.subjects import Request
from threatspec.subjects.images import image_of, read_image
from threatspec.training._job import TrainingRow
from threatspec.training.pixels._ask import PerturbationRequest
from threatspec.training.pixels._bytes import applied, fitted

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Canvas", "asked"]


def asked(row: TrainingRow, image: str = "") -> Request:
    """What a row asks; `image`: the reference of an image that it is shown in place of its own."""
    return Request(
        item=row.id,
        prompt=row.prompt,
        answer=row.answer,
        image=image or row.image,
        pixels=row.pixels,
    )


class Canvas:
    """Clean images of rows, in bytes and on a subject's device.

    Args:
        rows: who is shown them.
        request: whose `image` all rows share; without one, each has its own.
        folder: where images of `file:` are looked for.
        device: where a search computes.

    Raises ThreatspecError TS-IMAGE for rows without images, or with images of several sizes.
    """

    def __init__(
        self, rows: Sequence[TrainingRow], request: PerturbationRequest, folder: Path, device: Any
    ) -> None:
        self.rows, self.device = tuple(rows), device
        self.shared = bool(request.image)
        self.requests = [asked(row, request.image) for row in rows]
        images = [read_image(request.image, folder)] if self.shared else [
            self._own(one, folder) for one in self.requests
        ]  # fmt: skip
        self.clean = _stacked([fitted(image, request.size) for image in images])
        self._floats = torch.from_numpy(self.clean).permute(0, 3, 1, 2).to(device) / 255

    def _own(self, request: Request, folder: Path) -> NDArray[np.uint8]:
        if not request.image:
            text = "rows must have images for their own images to be changed, but"
            raise ThreatspecError(
                "TS-IMAGE", f"{text} {request.item} has none; name an `image` that all are shown"
            )
        return image_of(request, folder)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of a change: (height, width, channels)."""
        height, width, channels = self.clean.shape[1:]
        return height, width, channels

    @property
    def one(self) -> NDArray[np.uint8] | None:
        """The image that all rows share, if they do."""
        return self.clean[0] if self.shared else None

    def painted(self, change: torch.Tensor, numbers: Sequence[int]) -> torch.Tensor:
        """Images of rows with a change of shape (1, channels, height, width), in [0, 1]: one that
        they share, or one for each."""
        if self.shared:
            return self._floats + change  # the change is held so that this is an image
        return (self._floats[list(numbers)] + change).clamp(0, 1)

    def bytes(self, change: NDArray[np.int16], numbers: Sequence[int]) -> list[NDArray[np.uint8]]:
        """The same in bytes: one image for all rows, or one for each."""
        kept = [0] if self.shared else list(numbers)
        return [applied(self.clean[number], change) for number in kept]


def _stacked(images: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    shapes = sorted({image.shape for image in images})
    if len(shapes) > 1:
        text = f"a shared change must be of images of one size, but they have {shapes[0]} and"
        raise ThreatspecError("TS-IMAGE", f"{text} {shapes[1]}; give it a `size`")
    return np.stack(images)
