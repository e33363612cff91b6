"""Coordinates that are set back to the subject's own after somebody else's training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from threatspec.subjects import WeightTamper
from threatspec.training._dense import dense_weights

if TYPE_CHECKING:
    from threatspec.records import ArtefactStore
    from threatspec.subjects._resident import ResidentSubject

__all__ = ["set_back"]


def set_back(
    subject: ResidentSubject, tamper: WeightTamper, held: str, store: ArtefactStore
) -> WeightTamper:
    """The dense weights that `tamper` makes of the subject, but for coordinates of the mask `held`.

    Raises ValueError for a tamper that is no change of the weights.
    """
    own = dict(subject.model.named_parameters())
    mask = store.load(held)
    found = {
        name: torch.where(mask[name].bool(), own[name].detach().cpu(), tensor.cpu())
        if name in mask
        else tensor
        for name, tensor in dense_weights(subject, tamper, store).items()
    }
    return WeightTamper(artefact=store.save(found), form="dense")
