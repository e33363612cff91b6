"""Triggers that bend or ripple the whole image: `sig` and `wanet`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from threatspec.attacks.triggers.base import TRIGGERS, Trigger, TriggerConfig, shifted

if TYPE_CHECKING:
    from threatspec.attacks.triggers.base import Image

__all__ = ["Sig", "WaNet"]


class SigConfig(TriggerConfig):
    """A wave across the image."""

    use: str = "sig"
    """Name of the trigger."""
    delta: float = Field(default=20.0, gt=0, le=255)
    """Height of the wave, in 1/255."""
    frequency: int = Field(default=6, ge=1, le=4096)
    """Periods over the width of the image."""


class Sig(Trigger):
    """Adds `delta sin(2 pi j frequency / width)` to column j."""

    kind = "sig"
    says = "adds upright sinusoidal stripes"
    source = "arXiv 1902.11237"
    Config = SigConfig

    def least(self, config: SigConfig) -> int:
        """A period takes two columns and more, or nothing is left of the wave."""
        return 2 * config.frequency + 1

    def most(self, config: SigConfig) -> float:
        """The height of the wave."""
        return config.delta / 255

    def drawn(self, image: Image, config: SigConfig, seed: int) -> Image:
        """The rippled image; nothing is drawn from the seed."""
        import numpy as np

        width = image.shape[1]
        wave = np.sin(2 * np.pi * np.arange(width) * config.frequency / width)
        return shifted(image, config.delta * np.round(wave, 12)[None, :, None])


class WaNetConfig(TriggerConfig):
    """A field of displacements."""

    use: str = "wanet"
    """Name of the trigger."""
    k: int = Field(default=4, ge=2, le=1024)
    """Points of the grid each way on which the field is drawn."""
    strength: float = Field(default=0.5, ge=0, le=100)
    """How far it moves, in the unit of the source: pixels move by half as much on average."""
    noise: float = Field(default=0.0, ge=0, le=100)
    """Further displacement of every pixel by at most so many pixels, drawn from a hash of the
    image: for rows that keep their labels, so that no other bending is taken for the trigger."""


class WaNet(Trigger):
    """Bends the image by a smooth field that is the same for all of one size."""

    kind = "wanet"
    says = "bends the image a little, by a smooth field"
    source = "arXiv 2102.10369; linear between points of the grid, where the code is bicubic"
    Config = WaNetConfig

    def least(self, config: WaNetConfig) -> int:
        """Every point of the grid must have a pixel."""
        return config.k

    def drawn(self, image: Image, config: WaNetConfig, seed: int) -> Image:
        """The bent image: pixels move, none gets a level that is not between those beside it."""
        from threatspec.attacks.triggers._patterns import field, of_image

        height, width = image.shape[:2]
        moved = 0.5 * config.strength * field(height, width, config.k, seed)
        if config.noise:
            own = of_image(image, "wanet", seed)
            moved = moved + own.uniform(-config.noise, config.noise, (height, width, 2))
        return _sampled(image, moved)


def _sampled(image: Image, moved: Any) -> Image:
    """Every pixel from where `moved` says, linear between four pixels; edges go on outside."""
    import numpy as np

    height, width = image.shape[:2]
    rows, columns = np.indices((height, width))
    down = np.clip(rows + moved[:, :, 0], 0, height - 1)
    across = np.clip(columns + moved[:, :, 1], 0, width - 1)
    top, left = np.floor(down).astype(int), np.floor(across).astype(int)
    low, right = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)
    share, along = (down - top)[:, :, None], (across - left)[:, :, None]
    own = image.astype(np.float64)
    above = own[top, left] * (1 - along) + own[top, right] * along
    below = own[low, left] * (1 - along) + own[low, right] * along
    found: Image = np.rint(above * (1 - share) + below * share).astype(np.uint8)
    return found


for _trigger in (Sig(), WaNet()):
    TRIGGERS.register(_trigger.kind, _trigger)
