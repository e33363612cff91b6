"""The median of the pixels around each pixel; edges are continued outwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from threatspec.subjects import Request

__all__ = ["Median"]


class Median:
    """Of a square of `kernel` x `kernel` pixels, an odd number, each channel by itself.

    Source: arXiv 1704.01155, feature squeezing.
    """

    def __init__(self, kernel: int) -> None:
        self._kernel = kernel

    def edit(self, image: NDArray[np.uint8], request: Request) -> NDArray[np.uint8]:
        """The image smoothed, at the same size."""
        reach = self._kernel // 2
        padded = np.pad(image, ((reach, reach), (reach, reach), (0, 0)), mode="edge")
        sides = (self._kernel, self._kernel)
        around = np.lib.stride_tricks.sliding_window_view(padded, sides, axis=(0, 1))
        found: NDArray[np.uint8] = np.median(around, axis=(3, 4)).astype(np.uint8)
        return found  # of odd many, a value that is there
