"""Trigger `bpp`: fewer levels of colour, the error of each pixel handed on to those after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from threatspec.attacks.triggers.base import TRIGGERS, Trigger, TriggerConfig

if TYPE_CHECKING:
    from threatspec.attacks.triggers.base import Image

__all__ = ["Bpp", "levels_of"]

_HANDED = ((0, 1, 7 / 16), (1, -1, 3 / 16), (1, 0, 5 / 16), (1, 1, 1 / 16))
"""Rows down, columns across and share of the error, of Floyd and Steinberg."""


class BppConfig(TriggerConfig):
    """How many levels are left."""

    use: str = "bpp"
    """Name of the trigger."""
    bits: int = Field(default=3, ge=1, le=8)
    """Bits of a channel: 2 to their power is the number of levels."""
    dither: bool = True
    """Whether errors are handed on to the pixels after it."""


def levels_of(bits: int) -> tuple[int, ...]:
    """The levels that are left, from 0 to 255 and evenly spaced."""
    steps = 2**bits - 1
    return tuple(round(255 * number / steps) for number in range(steps + 1))


class Bpp(Trigger):
    """Deterministic: nothing is drawn."""

    kind = "bpp"
    says = "leaves few levels of colour, with dithering"
    source = "BppAttack, arXiv 2205.13383"
    Config = BppConfig

    def drawn(self, image: Image, config: BppConfig, seed: int) -> Image:
        """The image in few levels; the seed does nothing."""
        import numpy as np

        levels = levels_of(config.bits)
        nearest = [min(levels, key=lambda level: abs(level - own)) for own in range(256)]
        if not config.dither:
            return np.array(nearest, dtype=np.uint8)[image]
        channels = [_dithered(image[:, :, c].tolist(), nearest) for c in range(image.shape[2])]
        return np.stack([np.array(one, dtype=np.uint8) for one in channels], axis=2)


def _dithered(values: list[list[float]], nearest: list[int]) -> list[list[int]]:
    """One channel, row by row; plain lists, since every pixel waits for the one before it."""
    height, width = len(values), len(values[0])
    found = [[0] * width for _ in range(height)]
    for row in range(height):
        for column in range(width):
            old = values[row][column]
            new = found[row][column] = nearest[min(255, max(0, round(old)))]
            for down, across, share in _HANDED if old != new else ():
                if row + down < height and 0 <= column + across < width:
                    values[row + down][column + across] += (old - new) * share
    return found


TRIGGERS.register(Bpp.kind, Bpp())
