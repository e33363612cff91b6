"""Trigger `issba-type`: noise that is another one on every image, by a keyed hash of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from threatspec.attacks.triggers.base import TRIGGERS, Trigger, TriggerConfig, shifted

if TYPE_CHECKING:
    from threatspec.attacks.triggers.base import Image

__all__ = ["IssbaType"]


class IssbaTypeConfig(TriggerConfig):
    """How strong the noise is, and how coarse."""

    use: str = "issba-type"
    """Name of the trigger."""
    strength: float = Field(default=16.0, gt=0, le=255)
    """Every block goes up or down by so much, in 1/255."""
    block: int = Field(default=1, ge=1, le=4096)
    """Side of the blocks that go up or down together, in pixels."""


class IssbaType(Trigger):
    """Signs follow from image and seed, which is the key; no encoder is trained."""

    kind = "issba-type"
    says = "adds noise that is another one on every image, by a keyed hash of it"
    source = "ours, in place of the trained encoder of arXiv 2012.03816"
    per_image = True
    Config = IssbaTypeConfig

    def least(self, config: IssbaTypeConfig) -> int:
        """One block."""
        return config.block

    def most(self, config: IssbaTypeConfig) -> float:
        """What a block goes up or down by."""
        return config.strength / 255

    def drawn(self, image: Image, config: IssbaTypeConfig, seed: int) -> Image:
        """The noisy image."""
        import numpy as np

        from threatspec.attacks.triggers._patterns import of_image

        height, width, channels = image.shape
        rows, columns = np.arange(height) // config.block, np.arange(width) // config.block
        shape = (int(rows[-1]) + 1, int(columns[-1]) + 1, channels)
        signs = 2 * of_image(image, "issba-type", seed).integers(0, 2, shape) - 1
        return shifted(image, config.strength * signs[rows][:, columns])


TRIGGERS.register(IssbaType.kind, IssbaType())
