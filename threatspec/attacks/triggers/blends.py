"""Triggers that mix the whole image with a pattern: `blend`, `low-opacity`, `adaptive-blend`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from threatspec.attacks.triggers.base import TRIGGERS, Trigger, TriggerConfig, blended

if TYPE_CHECKING:
    from threatspec.attacks.triggers.base import Image

__all__ = ["AdaptiveBlend", "Blend", "LowOpacity"]


class BlendConfig(TriggerConfig):
    """With what the image is mixed, and how much."""

    use: str = "blend"
    """Name of the trigger."""
    pattern: str = Field(default="random", pattern=r"^(random|photo:[a-z]+)$")
    """`random`: levels drawn from the seed; else a photograph, as `photo:chelsea`."""
    alpha: float = Field(default=0.2, gt=0, le=1)
    """Share of the pattern in the mixture."""


class Blend(Trigger):
    """A convex combination with a pattern of the size of the image."""

    kind = "blend"
    says = "mixes the image with a fixed pattern of its size"
    source = "blended injection, arXiv 1712.05526"
    Config = BlendConfig

    def most(self, config: BlendConfig) -> float:
        """The pattern's share."""
        return config.alpha

    def drawn(self, image: Image, config: BlendConfig, seed: int) -> Image:
        """The mixture."""
        return blended(image, _pattern(image, config.pattern, seed), config.alpha)


class LowOpacityConfig(BlendConfig):
    """A blend that is hard to see."""

    use: str = "low-opacity"
    """Name of the trigger."""
    alpha: float = Field(default=0.08, gt=0, le=1)
    """Share of the pattern in the mixture."""


class LowOpacity(Blend):
    """The same with little of the pattern."""

    kind = "low-opacity"
    says = "mixes the image with a little of a fixed pattern"
    source = "the low-opacity triggers that arXiv 2308.12439 tests; a whole-image pattern is ours"
    Config = LowOpacityConfig


class AdaptiveBlendConfig(BlendConfig):
    """A blend of which rows have pieces."""

    use: str = "adaptive-blend"
    """Name of the trigger."""
    alpha: float = Field(default=0.15, gt=0, le=1)
    """Share of the pattern in the mixture."""
    grid: int = Field(default=4, ge=1, le=64)
    """The pattern is cut into so many pieces each way."""
    pieces: float = Field(default=0.5, gt=0, le=1)
    """Share of the pieces that is mixed in; which ones follows from a hash of the image."""


class AdaptiveBlend(Blend):
    """Rows that are trained on have some pieces of the pattern, test images all of them."""

    kind = "adaptive-blend"
    says = "mixes the image with some pieces of a fixed pattern"
    source = "Adap-Blend, arXiv 2205.13613"
    per_image = True
    Config = AdaptiveBlendConfig

    def least(self, config: AdaptiveBlendConfig) -> int:
        """Every piece must have a pixel."""
        return config.grid

    def drawn(self, image: Image, config: Any, seed: int) -> Image:
        """The mixture where there are pieces, and the image elsewhere."""
        import numpy as np

        from threatspec.attacks.triggers._patterns import of_image

        grid, (height, width) = config.grid, image.shape[:2]
        count = max(1, int(config.pieces * grid * grid + 1e-9))
        chosen = of_image(image, "adaptive-blend", seed).permutation(grid * grid)[:count]
        rows, columns = np.arange(height) * grid // height, np.arange(width) * grid // width
        there = np.isin(rows[:, None] * grid + columns[None, :], chosen)[:, :, None]
        mixed = blended(image, _pattern(image, config.pattern, seed), config.alpha)
        found: Image = np.where(there, mixed, image)
        return found


def _pattern(image: Image, name: str, seed: int) -> Any:
    from threatspec.attacks.triggers._patterns import noise, photo

    height, width, channels = image.shape
    if name == "random":
        return noise(height, width, channels, seed)
    return photo(name, height, width, channels)


for _trigger in (Blend(), LowOpacity(), AdaptiveBlend()):
    TRIGGERS.register(_trigger.kind, _trigger)
