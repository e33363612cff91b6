"""How far an adapter moves the weights that it is beside, without writing it into them."""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["merged_change"]


@torch.no_grad()
def merged_change(model: Any) -> float:
    """Square of the L2 norm of the change of all layers if their adapters were merged.

    One layer at a time is merged into a copy of its weights; the model stays as it is.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = [module for module in model.modules() if isinstance(module, BaseTunerLayer)]
    return sum(_change(layer) for layer in layers)


def _change(layer: Any) -> float:
    if not hasattr(layer, "merge"):
        return 0.0
    base = layer.get_base_layer()
    own = {name: parameter.data for name, parameter in base.named_parameters()}
    parameters = dict(base.named_parameters())
    try:
        for name, tensor in own.items():
            parameters[name].data = tensor.clone()
        layer.merge()
        return sum(float((parameters[n].data - own[n]).double().square().sum()) for n in parameters)
    finally:
        layer.merged_adapters.clear()
        for name, tensor in own.items():
            parameters[name].data = tensor
