"""Attack `weight-noise`: noise is added to the weights; a control of every change of weights."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from threatspec.attacks._space import Searched
from threatspec.attacks._surgery import Surgery, SurgeryConfig
from threatspec.attacks.base import ATTACKS
from threatspec.records import Stream

__all__ = ["WeightNoise", "WeightNoiseConfig"]


class WeightNoiseConfig(SurgeryConfig):
    """Knobs of the noise."""

    scale: Annotated[float, Field(gt=0, le=10), Searched(low=0.01, high=1.0, log=True)] = 0.1
    """Standard deviation of the noise over that of the entries of each matrix."""

    def method(self) -> str:
        """Gaussian."""
        return "weight-noise"


class WeightNoise(Surgery):
    """Gaussian noise on every matrix of attention and MLP."""

    kind = "weight-noise"
    says = "adds random noise to the weights"
    streams = frozenset({Stream.INIT})
    Config = WeightNoiseConfig


ATTACKS.register(WeightNoise.kind, WeightNoise())
