"""Merging: how what several tasks changed of the same weights is put into one change.

A task vector is the change of every weight (tuned minus base). Methods: `sum`; `task-arithmetic`
(a weighted sum); `ties` (arXiv 2306.01708: trim, elect signs, disjoint mean); `dare` (arXiv
2311.03099: drop at random, rescale, weighted sum). All take dense and sparse vectors alike: a
weight that did not move is a 0 of its vector.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from threatspec.schema import Model

__all__ = ["MergeConfig"]


class MergeConfig(Model):
    """What fixes a merge but the weights themselves."""

    method: Literal["sum", "task-arithmetic", "ties", "dare"]
    weights: tuple[float, ...] = ()
    """Of `task-arithmetic` and `dare`: a factor for each vector; none = 1 for all."""
    density: float = Field(default=1.0, gt=0, le=1)
    """Of `ties`: share of a vector that is kept, the largest first, with one threshold over all its
    tensors. Of `dare`: probability of an entry to be kept."""
    scale: float = 1.0
    """Of `ties`: factor of the merged vector."""
    seed: int = 0
    """Of `dare`: what is dropped."""

    @model_validator(mode="after")
    def _known(self) -> MergeConfig:
        if self.weights and self.method not in {"task-arithmetic", "dare"}:
            raise ValueError(f"weights must go with a method that reads them, not {self.method}")
        return self
