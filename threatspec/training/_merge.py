"""Merging of task vectors, tensor by tensor (see :mod:`threatspec.training.merging`)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from threatspec.errors import ThreatspecError
from threatspec.training._largest import largest
from threatspec.training.merging import MergeConfig

if TYPE_CHECKING:
    from threatspec.records import ArtefactStore

__all__ = ["combine", "merge", "task_vector"]

Tensors = Mapping[str, torch.Tensor]
Part = Callable[[str, torch.Tensor], torch.Tensor]
"""What of one task's change of a tensor goes into the merge, by the tensor's name."""


def merge(
    store: ArtefactStore, base: Tensors, artefacts: Sequence[str], config: MergeConfig
) -> dict[str, torch.Tensor]:
    """The weights `base` with the merged changes of dense artefacts that training left.

    Raises ThreatspecError TS-SCORES if an artefact is of other weights.
    """
    vectors = [task_vector(base, store.load(artefact)) for artefact in artefacts]
    changes = _changes(vectors, config)
    return {name: (base[name] + change).to(base[name].dtype) for name, change in changes}


def task_vector(base: Tensors, tuned: Tensors) -> dict[str, torch.Tensor]:
    """tuned - base by name, for all tensors of the base; those that `tuned` lacks did not move."""
    for name, tensor in tuned.items():
        if name not in base or tensor.shape != base[name].shape:
            text = f"what is merged must be weights of the same model, but {name} is not"
            raise ThreatspecError("TS-SCORES", text)
    return {
        name: tuned[name].to(own) - own if name in tuned else torch.zeros_like(own)
        for name, own in base.items()
    }


def combine(vectors: Sequence[Tensors], config: MergeConfig) -> dict[str, torch.Tensor]:
    """One change out of several, all of the same names and shapes.

    Raises ValueError if there are no vectors, or other than one weight for each.
    """
    return dict(_changes(vectors, config))


def _changes(vectors: Sequence[Tensors], config: MergeConfig) -> Iterator[tuple[str, torch.Tensor]]:
    """Tensor by tensor: no more than one merged tensor has to be held."""
    if not vectors or len(config.weights) not in (0, len(vectors)):
        raise ValueError("a merge must have vectors, and weights for all of them or none")
    parts = [_part(vector, index, config) for index, vector in enumerate(vectors)]
    for name in vectors[0]:
        kept = torch.stack([p(name, v[name]) for p, v in zip(parts, vectors, strict=True)])
        yield name, _joined(kept, config)


def _part(vector: Tensors, index: int, config: MergeConfig) -> Part:
    match config.method:
        case "ties":
            return _trimmed(vector, config.density)
        case "dare":
            return _dropped(index, config)
        case "sum" | "task-arithmetic":
            return lambda name, change: change


def _trimmed(vector: Tensors, density: float) -> Part:
    """Keep the round(density x n) largest of all n entries of a vector; of equal ones the first."""
    names = list(vector)
    count = round(density * sum(tensor.numel() for tensor in vector.values()))
    if not count:
        text = f"a merge must keep some weights, but density {density:g} keeps none"
        raise ThreatspecError("TS-MASK", text)
    kept = dict(largest(names, lambda name: vector[name].float().abs().flatten(), count, {}))
    return lambda name, change: change * kept[name].view_as(change)


def _dropped(index: int, config: MergeConfig) -> Part:
    """Keep every entry with probability p and divide it by p, so that its expectation stays.

    A tensor's draws depend on its name, not on what was drawn before.
    """

    def drop(name: str, change: torch.Tensor) -> torch.Tensor:
        digest = hashlib.sha256(f"{config.seed}/{index}/{name}".encode()).digest()
        maker = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
        kept = torch.rand(change.shape, generator=maker) < config.density
        return change * kept.to(change.device) / config.density

    return drop


def _joined(kept: torch.Tensor, config: MergeConfig) -> torch.Tensor:
    """[vectors, ...] to one change."""
    if config.method == "ties":
        return _elected(kept) * config.scale
    weights = torch.tensor(config.weights or (1.0,) * len(kept), dtype=kept.dtype)
    return (kept * weights.to(kept.device).view(-1, *(1,) * (kept.dim() - 1))).sum(dim=0)


def _elected(kept: torch.Tensor) -> torch.Tensor:
    """The sign with the greater mass wins; the mean of the entries that have it.

    Where both signs weigh the same nothing is elected and the change is 0.
    """
    sign = kept.sum(dim=0).sign()
    agreeing = (kept.sign() == sign) & (sign != 0)
    return (kept * agreeing).sum(dim=0) / agreeing.sum(dim=0).clamp_min(1)
