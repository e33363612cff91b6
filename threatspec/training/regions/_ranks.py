"""Edits of low rank: output directions are kept, removed, or removed where utility has none.

W is [outputs, inputs], R = min(outputs, inputs) its full rank, U its basis by `act-svd`, and
P = U Uᵀ over the first columns (2402.05162).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from threatspec.errors import ThreatspecError
from threatspec.training._asks import EditRequest
from threatspec.training.regions._artefacts import load_scores
from threatspec.training.regions._changes import Changes
from threatspec.training.regions._choose import count
from threatspec.training.regions._layers import Matrix, matrices_of

__all__ = ["keep", "orthogonal_projection", "remove"]


def remove(changes: Changes, request: EditRequest, rank: int) -> int:
    """W - P W with P of `rank` directions. Returns the highest rank of a change."""
    highest = 0
    for matrix, [basis] in _bases(changes, request):
        used = min(rank, full_rank(matrix))
        changes.matrix(matrix).sub_(_projected(matrix, _first(basis, used, matrix)))
        highest = max(highest, used)
    return highest


def keep(
    changes: Changes, request: EditRequest, rank: int | None = None, share: float = 0.0
) -> int:
    """P W with P of `rank` directions, or of all but the weakest `share` of R.

    Returns the highest rank of a change. Raises ThreatspecError TS-MASK if no matrix loses any.
    """
    highest = 0
    for matrix, [basis] in _bases(changes, request):
        full = full_rank(matrix)
        used = min(rank, full) if rank is not None else full - count(share, full)
        if used < full:
            changes.matrix(matrix).copy_(_projected(matrix, _first(basis, used, matrix)))
        highest = max(highest, full - used)
    return highest


def orthogonal_projection(
    changes: Changes, request: EditRequest, keep_safety: int, keep_utility: int
) -> int:
    """W - (I - Pu) Ps W: what writes where safety does and utility does not is taken out.

    Ps is of the first `keep_safety` = R - r_s directions of safety, Pu of the first `keep_utility`
    = R - r_u of utility. The change has at most rank min(R - keep_utility, keep_safety); the
    highest bound of a matrix is returned.
    """
    highest = 0
    for matrix, [safety, utility] in _bases(changes, request):
        full = full_rank(matrix)
        own = _first(safety, min(keep_safety, full), matrix)
        other = _first(utility, min(keep_utility, full), matrix)
        bound = min(full - other.shape[1], own.shape[1])
        if bound:
            left = own - other @ (other.T @ own)
            change = left @ (own.T @ matrix.weight.double())
            changes.matrix(matrix).sub_(change.to(matrix.weight))
        highest = max(highest, bound)
    return highest


def full_rank(matrix: Matrix) -> int:
    """R of a matrix."""
    return min(matrix.weight.shape)


def _projected(matrix: Matrix, basis: torch.Tensor) -> torch.Tensor:
    own = matrix.weight
    return (basis @ (basis.T @ own.double())).to(own)


def _first(basis: torch.Tensor, rank: int, matrix: Matrix) -> torch.Tensor:
    if basis.shape[1] < rank:
        raise ThreatspecError(
            "TS-SCORES",
            f"the basis of {matrix.name} must have {rank} directions, but has {basis.shape[1]}; "
            "score with a larger rank",
        )
    return basis[:, :rank].to(matrix.weight.device, torch.float64)


def _bases(changes: Changes, request: EditRequest) -> Iterator[tuple[Matrix, list[torch.Tensor]]]:
    """Every matrix with its basis in each artefact, [outputs, directions]."""
    loaded = [
        load_scores(changes.subject, artefact, changes.store, "act-svd")
        for artefact in request.scores
    ]
    for matrix in matrices_of(changes.subject.model):
        yield matrix, [_basis(bases, matrix) for bases in loaded]


def _basis(bases: dict[str, torch.Tensor], matrix: Matrix) -> torch.Tensor:
    found = bases.get(matrix.name)
    outputs = matrix.weight.shape[0]
    if found is not None and matrix.part is not None and found.dim() == 3:
        found = found[matrix.part] if matrix.part < len(found) else None
    if found is None or found.dim() != 2 or found.shape[0] != outputs:
        raise ThreatspecError(
            "TS-SCORES",
            f"scores must hold a basis of {matrix.name} with {outputs} outputs; score this model",
        )
    return found
