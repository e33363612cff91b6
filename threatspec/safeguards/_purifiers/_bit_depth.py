"""Fewer levels of brightness: each pixel goes to the nearest of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from threatspec.subjects import Request

__all__ = ["BitDepth"]


class BitDepth:
    """2^bits levels from black to white at equal distances.

    Source: arXiv 1704.01155, feature squeezing.
    """

    def __init__(self, bits: int) -> None:
        most = 2**bits - 1
        levels = np.rint(np.rint(np.arange(256) * most / 255) * 255 / most)
        self._table = levels.astype(np.uint8)

    def edit(self, image: NDArray[np.uint8], request: Request) -> NDArray[np.uint8]:
        """The image with those levels only."""
        found: NDArray[np.uint8] = self._table[image]
        return found
