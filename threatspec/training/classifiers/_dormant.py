"""The request for dormant channels of a classifier to be silenced, as fine-pruning does."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field

from threatspec.schema import Model
from threatspec.subjects import WeightTamper
from threatspec.training._job import TrainingRow

__all__ = ["PruneRequest", "Pruned"]


class PruneRequest(Model):
    """Silence channels of the last convolution, the most dormant first, until one more would cost
    too much accuracy. What was silenced stays so for whatever is asked next.

    Source: arXiv 1805.12185.
    """

    rows: tuple[TrainingRow, ...] = Field(min_length=1)
    """Clean images by which channels are dormant: mean activation after the rectifier."""
    judged_on: tuple[TrainingRow, ...] = Field(min_length=1)
    """Clean images on which accuracy must be kept."""
    most: float = Field(ge=0, le=1)
    """Share of the channels that may be silenced at most."""
    drop: float = Field(ge=0, le=1)
    """How far accuracy on `judged_on` may fall."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was silenced."""

    tamper: WeightTamper
    """The layer's weights with zeros, and those of the batch norm that follows it."""
    layers: tuple[str, ...]
    """Names of these modules; while they are held, what is silent stays silent."""
    channels: tuple[int, ...]
    """In the order in which they were silenced."""
    of: int
    """Channels of the layer."""
    before: float
    """Accuracy on `judged_on` of the subject as it was."""
    after: float
    """And with the channels silenced."""
