"""Head ablation: heads that a probe reads best are silenced.

A head is a block of output rows of the layers that make queries, keys and values, and a block of
input columns of the output layer. The program of 2402.05162 zeroes columns of the former and rows
of the latter.
"""

from __future__ import annotations

import torch

from threatspec.errors import ThreatspecError
from threatspec.training._asks import EditRequest
from threatspec.training.regions._artefacts import load_scores
from threatspec.training.regions._attention import Attention, attentions_of
from threatspec.training.regions._changes import Changes

__all__ = ["ablate_heads", "best_heads"]


def ablate_heads(changes: Changes, request: EditRequest, heads: int) -> None:
    """Zero the `heads` heads with the highest accuracy; the seed decides among equals."""
    attentions = attentions_of(changes.subject.model)
    found = load_scores(changes.subject, request.scores[0], changes.store, "probe")
    accuracy = found.get("accuracy", torch.empty(0))
    if accuracy.shape != (len(attentions), attentions[0].heads):
        raise ThreatspecError(
            "TS-SCORES",
            f"probes must be of {len(attentions)} layers with {attentions[0].heads} heads, but "
            f"have shape {tuple(accuracy.shape)}; score this model",
        )
    if not 0 < heads < accuracy.numel():
        raise ThreatspecError(
            "TS-MASK",
            f"some of {accuracy.numel()} heads must be chosen, not all, but {heads} are wanted",
        )
    chosen = best_heads(accuracy, heads, request.seed)
    for layer, attention in enumerate(attentions):
        _silence(changes, attention, frozenset(head for at, head in chosen if at == layer))


def best_heads(accuracy: torch.Tensor, heads: int, seed: int) -> list[tuple[int, int]]:
    """(layer, head) of the highest accuracies, in order; equals are drawn by `seed`."""
    values = accuracy.flatten().tolist()
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(values), generator=generator).tolist()
    order.sort(key=lambda index: -values[index])  # stable: equals stay in the drawn order
    return [divmod(index, accuracy.shape[1]) for index in order[:heads]]


def _silence(changes: Changes, attention: Attention, heads: frozenset[int]) -> None:
    for head in heads:
        changes.matrix(attention.output)[:, attention.columns(head)] = 0.0
    for matrix in attention.inputs if heads else ():
        for rows in attention.rows(matrix, heads):
            changes.matrix(matrix)[rows] = 0.0
