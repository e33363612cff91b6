"""What attacks and safeguards ask for besides training: masks, scores and edits of weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from threatspec.records import Edit
from threatspec.schema import Model
from threatspec.subjects import WeightTamper

__all__ = ["EditRequest", "Edited", "Mask", "MaskRequest", "ScoreRequest"]


class ScoreRequest(Model):
    """Scores of all weights on calibration pairs: computed once per subject, used by any edit.

    A trial of its own; its artefact holds float32 tensors by parameter name (or by name and part).
    """

    method: str
    """A row of `threatspec.training.regions.SCORES`, e.g. `snip`."""
    over: Literal["safety", "utility", "both"]
    """`safety`: restricted requests with refusals; `utility`: benign requests with answers."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Of the method, as plain data."""


class EditRequest(Model):
    """Edit the subject's weights without training."""

    method: str
    """A row of `threatspec.training.regions.EDITS`, e.g. `set-difference`."""
    scores: tuple[str, ...] = ()
    """Artefacts that the method reads, in its own order."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Of the method, as plain data."""
    seed: int = 0
    """For methods that draw at random."""


@dataclass(frozen=True, slots=True)
class Edited:
    """An edit that was made."""

    tamper: WeightTamper
    edit: Edit


class MaskRequest(Model):
    """Choose coordinates of the weights."""

    method: Literal["largest-change", "top-score"]
    """`largest-change`: of `source`, dense weights that training left; `top-score`: of `source`,
    scores."""
    source: str
    """Artefact."""
    share: float = Field(gt=0, lt=1)
    """How many coordinates are chosen, of those that may be."""
    scope: Literal["global", "tensor", "row"] = "global"
    """Within what they are compared."""
    beside: str | None = None
    """Mask whose coordinates are never chosen."""
    parts: Literal["blocks", "linear", "all"] = "blocks"
    """Which parameters may be chosen: matrices of attention and MLP, all linear layers, all."""


@dataclass(frozen=True, slots=True)
class Mask:
    """A mask that was made."""

    artefact: str
    chosen: int
    """Coordinates that are True."""
    total: int
    """Coordinates that could have been chosen."""
