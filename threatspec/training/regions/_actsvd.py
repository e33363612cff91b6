"""ActSVD: in which directions a layer writes (2402.05162).

For outputs Y = W X over all response tokens, the left singular vectors U of Y. Keeping the first r,
W' = U Uᵀ W, minimises the Frobenius norm of WX - W'X among all W' of rank r (Eckart-Young-Mirsky).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from threatspec.errors import ThreatspecError
from threatspec.subjects._resident import ResidentSubject
from threatspec.training._batches import Encoded
from threatspec.training.regions._layers import Matrix, matrices_of
from threatspec.training.regions._reading import read_inputs

__all__ = ["left_bases", "left_basis"]

_EXACT = 2048
"""Up to this size the decomposition is exact; above, a low rank is found by random projection."""
_ITERATIONS = 20
"""Power iterations of the random projection, as in the paper."""


def left_bases(
    subject: ResidentSubject, rows: Sequence[Encoded], rank: int | None = None
) -> dict[str, torch.Tensor]:
    """Bases by parameter: [outputs, rank], or [experts, outputs, rank]; strongest column first.

    `rank` None, or more than a matrix has: min(outputs, inputs) columns, which is called R. Of
    inputs only second moments are held, [inputs, inputs] for each set of layers that read the same.
    """
    matrices = matrices_of(subject.model)
    moments = _Moments()
    read_inputs(subject, rows, matrices, moments)
    found: dict[str, list[torch.Tensor]] = {}
    for matrix in matrices:
        basis = left_basis(matrix.weight, moments.of(matrix), rank)
        found.setdefault(matrix.name, []).append(basis.float().cpu())
    fused = {m.name for m in matrices if m.part is not None}
    return {name: torch.stack(own) if name in fused else own[0] for name, own in found.items()}


class _Moments:
    """Sums of x xᵀ; layers that are given the very same tokens share one sum."""

    def __init__(self) -> None:
        self._sums: dict[Matrix, torch.Tensor] = {}
        self._leaders: dict[Matrix, Matrix] = {}
        self._last: tuple[Matrix, torch.Tensor] | None = None

    def __call__(self, matrix: Matrix, tokens: torch.Tensor) -> None:
        if self._last is not None and self._last[1] is tokens:
            self._leaders[matrix] = self._last[0]
            return
        self._last = (matrix, tokens)
        self._leaders[matrix] = matrix
        product = tokens.float().T @ tokens.float()
        known = self._sums.get(matrix)
        self._sums[matrix] = product if known is None else known.add_(product)

    def of(self, matrix: Matrix) -> torch.Tensor:
        return self._sums[self._leaders[matrix]]


def left_basis(
    weight: torch.Tensor, moments: torch.Tensor, rank: int | None = None
) -> torch.Tensor:
    """Left singular vectors of W X from W [outputs, inputs] and X Xᵀ [inputs, inputs].

    They are the eigenvectors of W X Xᵀ Wᵀ. With more outputs than inputs, those are sought within
    the column space of W, so that the basis spans all of it even if X does not reach everywhere.

    Returns:
        Orthonormal columns, [outputs, min(rank, outputs, inputs)], float64.

    Raises ThreatspecError TS-DIVERGED for outputs that are not finite.
    """
    outputs, inputs = weight.shape
    size = min(outputs, inputs)
    wanted = size if rank is None else min(rank, size)
    full = weight.double()
    frame, inner = torch.linalg.qr(full) if outputs > inputs else (None, full)
    gram = inner @ moments.to(inner) @ inner.T
    if not bool(gram.isfinite().all()):
        raise ThreatspecError("TS-DIVERGED", "outputs of layers must be finite, but are not")
    vectors = _eigenvectors((gram + gram.T) / 2, wanted)
    return vectors if frame is None else frame @ vectors


def _eigenvectors(gram: torch.Tensor, rank: int) -> torch.Tensor:
    """Of the largest eigenvalues, largest first."""
    if len(gram) <= _EXACT or 4 * rank > len(gram):
        vectors: torch.Tensor = torch.linalg.eigh(gram).eigenvectors
        return vectors.flip(1)[:, :rank]
    with torch.random.fork_rng(devices=[gram.device] if gram.is_cuda else []):
        torch.manual_seed(0)  # scores are a function of the subject and the rows alone
        return torch.svd_lowrank(gram, q=rank, niter=_ITERATIONS)[0]
