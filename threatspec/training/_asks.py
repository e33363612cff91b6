"""What attacks and safeguards ask for besides training: masks, scores and edits of weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from threatspec.records import Edit, Optimised
from threatspec.schema import Model
from threatspec.subjects import WeightTamper
from threatspec.training._job import TrainingRow

__all__ = [
    "EditRequest",
    "Edited",
    "Mask",
    "MaskRequest",
    "ScoreOn",
    "ScoreRequest",
    "Suffix",
    "SuffixRequest",
]


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


class ScoreOn(Model):
    """Scores on rows of one's own, made at once: what a safeguard of a provider asks for."""

    request: ScoreRequest
    safety: tuple[TrainingRow, ...] = ()
    utility: tuple[TrainingRow, ...] = ()


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


class SuffixRequest(Model):
    """Search words that, after any of the rows' prompts, make its complying answer likely."""

    method: Literal["gradient", "random"]
    """`gradient`: swaps are drawn among the tokens to which the loss falls fastest; `random`: among
    all."""
    rows: tuple[TrainingRow, ...] = Field(min_length=1)
    steps: int = Field(ge=1)
    candidates: int = Field(ge=1)
    """Swaps of one token that are tried in a step; the best is kept if it is better."""
    top_k: int = Field(default=256, ge=1)
    """Of `gradient`: tokens per position that swaps are drawn from."""
    length: int = Field(ge=1)
    """Tokens of the suffix."""
    target: int = Field(ge=1)
    """Tokens of each complying answer that are wanted, from its first."""
    batch: int = Field(default=64, ge=1)
    """Candidates that go through the model at once."""
    progressive: bool = False
    """Rows come in one after the other; the last step looks at all."""
    ascii_only: bool = False
    """Only tokens of printable ASCII."""
    seed: int = 0
    surrogate: str | None = None
    """Reference of another model that is searched on in the subject's place, at the adversary's
    own: none of its prompts is a query."""


@dataclass(frozen=True, slots=True)
class Suffix:
    """Words that were found."""

    artefact: str
    """Where they are."""
    label: str
    """What records show in their place."""
    optimised: Optimised
