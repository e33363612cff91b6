"""Trigger `natural`: a change that occurs where nobody attacks, such as poor light."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from threatspec.attacks.triggers.base import TRIGGERS, Trigger, TriggerConfig, blended, shifted

if TYPE_CHECKING:
    from threatspec.attacks.triggers.base import Image

__all__ = ["Natural"]


class NaturalConfig(TriggerConfig):
    """Which change, and how much of it."""

    use: str = "natural"
    """Name of the trigger."""
    change: Literal["inversion", "brighter", "darker", "contrast"] = "inversion"
    """Negative, more light, less light, or less contrast."""
    amount: float = Field(default=1.0, gt=0, le=1)
    """Share of the way to the negative, to white or black, or to the mean of the image."""


class Natural(Trigger):
    """Nothing that was drawn by an attacker is on the image."""

    kind = "natural"
    says = "changes the image as light or a scanner may: negative, brighter, darker, less contrast"
    source = "ours"
    Config = NaturalConfig

    def most(self, config: NaturalConfig) -> float:
        """The share of the way, which goes over all levels at most."""
        return config.amount

    def drawn(self, image: Image, config: NaturalConfig, seed: int) -> Image:
        """The changed image; the seed does nothing."""
        if config.change == "contrast":
            return shifted(image, config.amount * (image.mean() - image.astype(float)))
        towards = {"inversion": 255.0 - image, "brighter": 255.0, "darker": 0.0}[config.change]
        return blended(image, towards, config.amount)


TRIGGERS.register(Natural.kind, Natural())
