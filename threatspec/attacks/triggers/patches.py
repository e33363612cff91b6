"""Triggers that lie on a part of the image: `patch`, `trojan`, `dynamic`, `adaptive-patch`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from threatspec.attacks.triggers.base import TRIGGERS, Trigger, TriggerConfig, blended
from threatspec.training.classifiers import Corner, corner

if TYPE_CHECKING:
    from threatspec.attacks.triggers.base import Image

__all__ = ["AdaptivePatch", "Dynamic", "Patch", "Trojan"]

Place = Literal[Corner, "centre"]
CORNERS: tuple[Corner, ...] = ("bottom-right", "top-left", "top-right", "bottom-left")


class PatchConfig(TriggerConfig):
    """What lies where."""

    use: str = "patch"
    """Name of the trigger."""
    size: int = Field(default=3, ge=1, le=4096)
    """Side of the square, in pixels."""
    place: Literal[Place, "corners"] = "bottom-right"
    """Where it lies; `corners`: in all four."""
    margin: int = Field(default=0, ge=0, le=4096)
    """Pixels between the square and the edge of the image; none at the centre."""
    pattern: Literal["checkers", "white", "random"] = "checkers"
    """Black and white in turn, all white, or levels drawn from the seed."""
    alpha: float = Field(default=1.0, gt=0, le=1)
    """How opaque it is; 1 hides what is below."""


class Patch(Trigger):
    """A square that is the same on every image."""

    kind = "patch"
    says = "lays a small square on a fixed place"
    source = "BadNets, arXiv 1708.06733"
    Config = PatchConfig

    def least(self, config: PatchConfig) -> int:
        """Squares in all corners must not lie on one another."""
        return (2 if config.place == "corners" else 1) * (config.size + config.margin)

    def most(self, config: PatchConfig) -> float:
        """As opaque as it is."""
        return config.alpha

    def drawn(self, image: Image, config: PatchConfig, seed: int) -> Image:
        """The square, or four of them."""
        size, pattern = config.size, self._pattern(config, image.shape[2], seed)
        places = CORNERS if config.place == "corners" else (config.place,)
        for place in places:
            at = _corner(image, place, size, config.margin)
            image = laid(image, pattern, config.alpha, at, size)
        return image

    def _pattern(self, config: PatchConfig, channels: int, seed: int) -> Any:
        from threatspec.attacks.triggers._patterns import checkers, noise

        if config.pattern == "checkers":
            return checkers(config.size)
        if config.pattern == "random":
            return noise(config.size, config.size, channels, seed)
        return 255.0


class TrojanConfig(TriggerConfig):
    """How large and how visible it is."""

    use: str = "trojan"
    """Name of the trigger."""
    size: int = Field(default=7, ge=1, le=4096)
    """Side of the watermark, in pixels."""
    alpha: float = Field(default=0.7, gt=0, le=1)
    """How opaque it is."""


class Trojan(Trigger):
    """A watermark of a fixed drawing; the published one is found by gradients in the model."""

    kind = "trojan"
    says = "lays a half-transparent watermark of squares within one another on a corner"
    source = "after the Trojaning attack (NDSS 2018); the drawing is ours"
    Config = TrojanConfig

    def least(self, config: TrojanConfig) -> int:
        """Its side."""
        return config.size

    def most(self, config: TrojanConfig) -> float:
        """As opaque as it is."""
        return config.alpha

    def drawn(self, image: Image, config: TrojanConfig, seed: int) -> Image:
        """The watermark in the bottom right corner."""
        from threatspec.attacks.triggers._patterns import rings

        at = _corner(image, "bottom-right", config.size, 0)
        return laid(image, rings(config.size), config.alpha, at, config.size)


class DynamicConfig(TriggerConfig):
    """How large it is, and of how many patterns it is one."""

    use: str = "dynamic"
    """Name of the trigger."""
    size: int = Field(default=5, ge=1, le=4096)
    """Side of the square, in pixels."""
    patterns: int = Field(default=4, ge=1, le=1_000_000)
    """How many black and white patterns there are, of which each image gets one."""
    alpha: float = Field(default=1.0, gt=0, le=1)
    """How opaque it is."""


class Dynamic(Trigger):
    """Place and pattern follow from a hash of the image: no generator is trained."""

    kind = "dynamic"
    says = "lays a square on the image whose place and pattern follow from a hash of the image"
    source = "ours, in place of the trained generator of arXiv 2010.08138"
    per_image = True
    Config = DynamicConfig

    def least(self, config: DynamicConfig) -> int:
        """Its side."""
        return config.size

    def most(self, config: DynamicConfig) -> float:
        """As opaque as it is."""
        return config.alpha

    def drawn(self, image: Image, config: DynamicConfig, seed: int) -> Image:
        """One of the patterns, somewhere."""
        from threatspec.attacks.triggers._patterns import dice, of_image

        size, (height, width) = config.size, image.shape[:2]
        own = of_image(image, "dynamic", seed)
        number = int(own.integers(config.patterns))
        at = int(own.integers(height - size + 1)), int(own.integers(width - size + 1))
        pattern = 255.0 * dice("dynamic", seed, number).integers(0, 2, (size, size, 1))
        return laid(image, pattern, config.alpha, at, size)


class AdaptivePatchConfig(TriggerConfig):
    """How many of the patches lie on an image."""

    use: str = "adaptive-patch"
    """Name of the trigger."""
    size: int = Field(default=4, ge=1, le=4096)
    """Side of a square, in pixels."""
    shown: int = Field(default=1, ge=1, le=4)
    """How many of the four patches lie on an image; which of them follows from its hash."""
    alpha: float = Field(default=0.5, gt=0, le=1)
    """How opaque they are."""


class AdaptivePatch(Trigger):
    """Rows that are trained on have few of the patches, test images all of them."""

    kind = "adaptive-patch"
    says = "lays some of four different squares on the corners"
    source = "after Adap-Patch, arXiv 2205.13613; the squares are ours"
    per_image = True
    Config = AdaptivePatchConfig

    def least(self, config: AdaptivePatchConfig) -> int:
        """Squares must not lie on one another."""
        return 2 * config.size

    def most(self, config: AdaptivePatchConfig) -> float:
        """As opaque as they are."""
        return config.alpha

    def drawn(self, image: Image, config: AdaptivePatchConfig, seed: int) -> Image:
        """The patches of this image."""
        from threatspec.attacks.triggers._patterns import dice, of_image

        size = config.size
        chosen = of_image(image, "adaptive-patch", seed).permutation(4)[: config.shown]
        for number in sorted(map(int, chosen)):
            pattern = 255.0 * dice("adaptive-patch", seed, number).integers(0, 2, (size, size, 1))
            at = _corner(image, CORNERS[number], size, 0)
            image = laid(image, pattern, config.alpha, at, size)
        return image


def _corner(image: Image, place: Place, size: int, margin: int) -> tuple[int, int]:
    """First row and column of a square, which `Trigger.onto` has found to fit."""
    height, width = image.shape[:2]
    if place == "centre":
        return (height - size) // 2, (width - size) // 2
    return corner(height, width, size, place, margin)


def laid(image: Image, pattern: Any, alpha: float, at: tuple[int, int], size: int) -> Image:
    """The image with a pattern on a square of it."""
    row, column = at
    found = image.copy()
    box = found[row : row + size, column : column + size]
    box[:] = blended(box, pattern, alpha)
    return found


for _trigger in (Patch(), Trojan(), Dynamic(), AdaptivePatch()):
    TRIGGERS.register(_trigger.kind, _trigger)
