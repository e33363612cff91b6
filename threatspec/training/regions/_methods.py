"""Which scores and edits there are, by name, and what they cost. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from threatspec.errors import ThreatspecError, did_you_mean
from threatspec.subjects import SubjectCard
from threatspec.training._flops import forward_flops

__all__ = [
    "EDITS",
    "SCORES",
    "EditMethod",
    "ScoreMethod",
    "edit_method",
    "score_flops",
    "score_method",
]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ScoreMethod:
    """One way to score."""

    says: str
    home: str
    """`module:function` of this package."""
    passes: float
    """Floating-point operations, in forward passes over the rows."""
    contrast: bool = False
    """Whether it sets safety rows against utility rows, and so reads both."""


@dataclass(frozen=True, slots=True)
class EditMethod:
    """One way to edit."""

    says: str
    home: str
    """`module:function` of this package."""
    scores: int = 0
    """How many artefacts it reads."""


SCORES: Mapping[str, ScoreMethod] = {
    "snip": ScoreMethod(
        "first-order change of the loss if an entry were 0: mean over rows of |W x dL/dW|",
        "_snip:snip", 3.0,
    ),
    "wanda": ScoreMethod(
        "change of a layer's output if an entry were 0: |W| x L2 norm of its input",
        "_wanda:wanda", 1.0,
    ),
    "act-svd": ScoreMethod(
        "left singular vectors of a layer's outputs W X, strongest first",
        "_actsvd:left_bases", 2.0,
    ),
    "probe": ScoreMethod(
        "accuracy of a linear probe on each attention head: safety against utility prompts",
        "_probe:probe", 1.0, contrast=True,
    ),
    "direction": ScoreMethod(
        "difference of mean hidden states after each block: safety minus utility prompts",
        "_direction:direction", 1.0, contrast=True,
    ),
}  # fmt: skip
"""All scores by name (2402.05162; `direction` is not of that paper)."""

EDITS: Mapping[str, EditMethod] = {
    "top-prune": EditMethod("sets the entries with the highest scores to 0", "_prune:top_prune", 1),
    "set-difference": EditMethod(
        "sets entries to 0 that are high for safety and not high for utility",
        "_prune:set_difference", 2,
    ),
    "least-prune": EditMethod(
        "sets the entries with the lowest scores to 0", "_prune:least_prune", 1
    ),
    "random-prune": EditMethod("sets random entries to 0", "_prune:random_prune"),
    "weight-noise": EditMethod("adds Gaussian noise to matrices", "_prune:weight_noise"),
    "actsvd-remove": EditMethod(
        "takes the strongest output directions out of matrices", "_ranks:remove", 1
    ),
    "actsvd-keep": EditMethod(
        "keeps only the strongest output directions of matrices", "_ranks:keep", 1
    ),
    "orthogonal-projection": EditMethod(
        "takes out output directions of safety that are orthogonal to those of utility",
        "_ranks:orthogonal_projection", 2,
    ),
    "ablate-heads": EditMethod(
        "silences the attention heads that probes read best", "_heads:ablate_heads", 1
    ),
    "ablate-direction": EditMethod(
        "makes all that is written to the residual stream orthogonal to a direction",
        "_direction:ablate_direction", 1,
    ),
}  # fmt: skip
"""All edits by name."""


def score_method(name: str) -> ScoreMethod:
    """The score called `name`. Raises ThreatspecError TS-UNKNOWN-NAME."""
    return _row(SCORES, "score", name)


def edit_method(name: str) -> EditMethod:
    """The edit called `name`. Raises ThreatspecError TS-UNKNOWN-NAME."""
    return _row(EDITS, "edit", name)


def _row(table: Mapping[str, T], noun: str, name: str) -> T:
    if name not in table:
        hint = did_you_mean(name, tuple(table))
        raise ThreatspecError("TS-UNKNOWN-NAME", f"unknown {noun} {name!r}{hint}")
    return table[name]


def score_flops(subject: SubjectCard, rows: int, length: int, method: str) -> float:
    """Floating-point operations of scoring `rows` rows of `length` tokens.

    Forward passes as in `forward_flops`; backward counts twice, and the second moments of inputs
    that `act-svd` gathers count as one more forward pass. Decompositions are left out.
    """
    tokens = rows * length
    return score_method(method).passes * forward_flops(subject, tokens, length)
