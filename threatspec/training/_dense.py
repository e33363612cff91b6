"""Effective weights: what a weight tamper makes of the parameters, without the tamper."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from threatspec.subjects._mount import mount

if TYPE_CHECKING:
    from threatspec.records import ArtefactStore
    from threatspec.subjects import WeightTamper
    from threatspec.subjects._resident import ResidentSubject

__all__ = ["dense_weights"]


def dense_weights(
    subject: ResidentSubject, tamper: WeightTamper, store: ArtefactStore
) -> dict[str, torch.Tensor]:
    """Parameters by name that `tamper` changes, as they are in effect on the subject as it is now.

    A low-rank adapter is multiplied out and added. Raises ValueError for other adapters and for
    perturbations, which are no change of the weights.
    """
    if tamper.form == "dense":
        return store.load(tamper.artefact)
    names = {id(parameter): name for name, parameter in subject.model.named_parameters()}
    with mount(subject, (tamper,), store), torch.no_grad():
        found = {
            names[id(module.base_layer.weight)]: module.base_layer.weight.detach()
            + module.get_delta_weight("default")
            for module in subject.model.modules()
            if hasattr(module, "lora_A") and hasattr(module, "get_delta_weight")
        }
    if not found:
        raise ValueError(f"weights must come from a low-rank adapter, but got {tamper.form}")
    return found
