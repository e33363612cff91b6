"""Wanda: how much a layer's output would change if an entry were 0.

I(W)_ij = |W_ij| x L2 norm of input j over all response tokens (2402.05162).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from threatspec.subjects._resident import ResidentSubject
from threatspec.training._batches import Encoded
from threatspec.training.regions._layers import Matrix, matrices_of
from threatspec.training.regions._reading import read_inputs

__all__ = ["wanda"]


def wanda(subject: ResidentSubject, rows: Sequence[Encoded]) -> dict[str, torch.Tensor]:
    """Scores by parameter, in the parameter's own shape; 0 for experts that no token reaches."""
    matrices = matrices_of(subject.model)
    squares = {m: torch.zeros(m.weight.shape[1], dtype=torch.float64) for m in matrices}

    def take(matrix: Matrix, tokens: torch.Tensor) -> None:
        squares[matrix] += tokens.double().square().sum(0).cpu()

    read_inputs(subject, rows, matrices, take)
    own = dict(subject.model.named_parameters())
    found = {m.name: own[m.name].detach().abs().float() for m in matrices}
    for matrix, sums in squares.items():
        view = matrix.view(found[matrix.name])
        view.mul_(sums.sqrt().to(view))
    return found
