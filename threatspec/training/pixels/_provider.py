"""What a provider does to images, in the way of a search: exactly, or forward only (BPDA).

Source: arXiv 1802.00420, section 4.1 (backward pass differentiable approximation).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

from threatspec.subjects import PixelEdit, Request

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Provider"]

Edits = tuple[PixelEdit, ...]


class Provider:
    """Edits and prompts as the provider leaves them, for rows that are always the same.

    Args:
        requests: what rows ask.
        received: what the provider makes of requests; the same items in the same order.
    """

    def __init__(
        self,
        requests: Sequence[Request],
        received: Callable[[Sequence[Request]], list[Request]],
    ) -> None:
        self.requests = received(requests)
        pairs = zip(requests, self.requests, strict=True)
        self.edits: list[Edits] = [after.pixels[len(before.pixels) :] for before, after in pairs]

    def through(self, images: torch.Tensor, numbers: Sequence[int]) -> torch.Tensor:
        """Images (n or 1, channels, height, width) in [0, 1] of rows `numbers` after the edits.

        Where rows meet different edits, each gets an image of its own.
        """
        if self._alike(numbers):
            asked = [self.requests[number] for number in numbers]
            return _through(images, self.edits[numbers[0]], asked)
        each = images.expand(len(numbers), -1, -1, -1)
        return torch.cat([
            _through(each[place : place + 1], self.edits[number], [self.requests[number]])
            for place, number in enumerate(numbers)
        ])  # fmt: skip

    def exactly(
        self, images: Sequence[NDArray[np.uint8]], numbers: Sequence[int]
    ) -> list[NDArray[np.uint8]]:
        """Images in bytes (n, or one that rows share) after the edits, which see every row."""
        if not any(self.edits[number] for number in numbers):
            return list(images)
        each = images if len(images) == len(numbers) else [images[0]] * len(numbers)
        return [self._one(image, n) for image, n in zip(each, numbers, strict=True)]

    def _one(self, image: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
        for step in self.edits[number]:
            image = step.edit(image, self.requests[number])
        return image

    def _alike(self, numbers: Sequence[int]) -> bool:
        """By identity: edits may hold arrays, which cannot be compared."""
        return len({tuple(map(id, self.edits[number])) for number in numbers}) == 1


def _through(images: torch.Tensor, edits: Edits, asked: Sequence[Request]) -> torch.Tensor:
    for step in edits:
        exact: Any = getattr(step, "through", None)
        images = exact(images) if exact is not None else _forward_only(step, images, asked)
    return images


def _forward_only(step: PixelEdit, images: torch.Tensor, asked: Sequence[Request]) -> torch.Tensor:
    """The edit of the bytes; gradients go back as if it had only resized."""
    plain = (images.detach() * 255).round().clamp(0, 255).to(torch.uint8)
    arrays = plain.permute(0, 2, 3, 1).cpu().numpy()
    pairs = zip(arrays, asked, strict=False)  # an image that rows share meets it as the first does
    made = np.stack([step.edit(image, request) for image, request in pairs])
    done = torch.from_numpy(made).permute(0, 3, 1, 2).to(images) / 255
    if done.shape[2:] != images.shape[2:]:
        images = functional.interpolate(images, size=done.shape[2:], mode="bilinear")
    return images + (done - images).detach()
