"""Edits of single entries: pruning by scores, by their difference, at random; noise."""

from __future__ import annotations

import torch

from threatspec.training._asks import EditRequest
from threatspec.training.regions._artefacts import load_scores
from threatspec.training.regions._changes import Changes, scores_of
from threatspec.training.regions._choose import highest, lowest, random_entries
from threatspec.training.regions._layers import Matrix, matrices_of

__all__ = ["least_prune", "random_prune", "set_difference", "top_prune", "weight_noise"]

_ENTRYWISE = ("snip", "wanda")


def top_prune(
    changes: Changes, request: EditRequest, share: float, scope: str = "row", floor: int = 0
) -> None:
    """Zero the highest `share` of each row (or matrix)."""
    matrices, [scores] = _scored(changes, request)
    for matrix in matrices:
        changes.zero(matrix, highest(_at(scores, matrix), share, scope, floor))


def least_prune(
    changes: Changes, request: EditRequest, share: float, scope: str = "row", floor: int = 0
) -> None:
    """Zero the lowest `share` of each row (or matrix)."""
    matrices, [scores] = _scored(changes, request)
    for matrix in matrices:
        changes.zero(matrix, lowest(_at(scores, matrix), share, scope, floor))


def set_difference(
    changes: Changes,
    request: EditRequest,
    safety: float,
    utility: float,
    scope: str = "row",
    floor: int = 0,
) -> None:
    """Zero S(q) - U(p): top q = `safety` by safety scores, without top p = `utility` by utility.

    `floor` is of S, before U is taken out of it. The text of 2402.05162 compares within rows, its
    program within the flattened matrix: both are here by `scope`.
    """
    matrices, [own, other] = _scored(changes, request)
    for matrix in matrices:
        wanted = highest(_at(own, matrix), safety, scope, floor)
        spared = highest(_at(other, matrix), utility, scope)
        changes.zero(matrix, wanted & ~spared)


def random_prune(changes: Changes, request: EditRequest, share: float, scope: str = "row") -> None:
    """Zero a random `share` of each row (or matrix); the control of pruning by scores."""
    generator = torch.Generator().manual_seed(request.seed)
    for matrix in matrices_of(changes.subject.model):
        changes.zero(matrix, random_entries(matrix.weight, share, scope, generator))


def weight_noise(changes: Changes, request: EditRequest, scale: float) -> None:
    """Add Gaussian noise of `scale` times the standard deviation of each matrix's entries."""
    generator = torch.Generator().manual_seed(request.seed)
    for matrix in matrices_of(changes.subject.model):
        own = matrix.weight
        noise = torch.randn(own.shape, generator=generator).to(own)
        changes.matrix(matrix).add_(noise, alpha=scale * float(own.std()))


def _scored(
    changes: Changes, request: EditRequest
) -> tuple[tuple[Matrix, ...], list[dict[str, torch.Tensor]]]:
    """The matrices, and scores of all of them per artefact."""
    matrices = matrices_of(changes.subject.model)
    found = []
    for artefact in request.scores:
        scores = load_scores(changes.subject, artefact, changes.store, *_ENTRYWISE)
        scores_of(scores, matrices)
        found.append(scores)
    return matrices, found


def _at(scores: dict[str, torch.Tensor], matrix: Matrix) -> torch.Tensor:
    return matrix.view(scores[matrix.name]).to(matrix.weight.device)
