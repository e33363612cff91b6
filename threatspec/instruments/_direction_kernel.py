"""Separation of two sets of prompts along a direction that was fitted on two others."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from threatspec.errors import ThreatspecError
from threatspec.measures import Item
from threatspec.subjects._resident import ResidentSubject
from threatspec.training import TrainingRow
from threatspec.training._batches import encode
from threatspec.training.regions._direction import prompt_states

__all__ = ["separations"]


def separations(
    subject: ResidentSubject,
    restricted: Sequence[Sequence[Item]],
    benign: Sequence[Sequence[Item]],
) -> list[float]:
    """By block, in pooled standard deviations.

    Args:
        subject: whose hidden states are read, at the last token of the prompt.
        restricted: prompts to fit on, and prompts to read.
        benign: likewise.
    """
    (fit_r, read_r), (fit_b, read_b) = (
        [_states(subject, items) for items in sets] for sets in (restricted, benign)
    )
    unit = torch.nn.functional.normalize(fit_r.mean(1) - fit_b.mean(1), dim=-1)
    along = [torch.einsum("bnh,bh->bn", states, unit) for states in (read_r, read_b)]
    pooled = (along[0].var(1, correction=0) + along[1].var(1, correction=0)) / 2
    distance = along[0].mean(1) - along[1].mean(1)
    found = distance / pooled.sqrt().clamp_min(1e-8)
    if not bool(torch.isfinite(found).all()):
        raise ThreatspecError("TS-DIVERGED", "hidden states must be finite, but some are not")
    return [float(value) for value in found]


def _states(subject: ResidentSubject, items: Sequence[Item]) -> torch.Tensor:
    """[blocks, prompts, hidden] in float64."""
    rows = [TrainingRow(id=item.id, prompt=item.prompt, answer="") for item in items]
    return prompt_states(subject, encode(subject, rows))
