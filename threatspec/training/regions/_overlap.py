"""How much two regions have in common (2402.05162): of entries, and of subspaces."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["jaccard", "subspace_similarity"]


def jaccard(first: Tensor, second: Tensor, share: float = 0.05) -> float:
    """Jaccard index of the entries with the highest scores.

    Args:
        first: scores, any shape.
        second: other scores of the same entries.
        share: of all entries, how many count as high; at least one.

    Returns:
        Size of the intersection over size of the union, in [0, 1].
    """
    if first.shape != second.shape:
        raise ValueError(
            f"scores must be of the same entries, but have shapes {tuple(first.shape)} and "
            f"{tuple(second.shape)}"
        )
    size = max(1, int(share * first.numel() + 1e-9))
    own, other = (set(scores.flatten().topk(size).indices.tolist()) for scores in (first, second))
    return len(own & other) / len(own | other)


def subspace_similarity(first: Tensor, second: Tensor) -> float:
    """Overlap of two subspaces: squared Frobenius norm of UᵀV over the smaller rank, in [0, 1].

    Args:
        first: orthonormal columns, [dimensions, rank].
        second: orthonormal columns, [dimensions, other rank].
    """
    rank = min(first.shape[1], second.shape[1])
    return float((first.T.double() @ second.double()).square().sum()) / rank
