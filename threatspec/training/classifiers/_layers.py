"""Layers of a classifier that follow one another, found by watching a pass through it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from threatspec.errors import ThreatspecError

__all__ = ["Layer", "head_of", "layer_chain", "run_chain"]

_ALONE = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.MaxPool2d, nn.AvgPool2d,
    nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Dropout, nn.Dropout2d, nn.Identity, nn.Flatten,
)  # fmt: skip
"""Without weights, and with nothing that goes from one channel to another."""
_WANTED = (
    "a subnet must run through convolutions, batch norm and linear layers that follow one another"
)


@dataclass(frozen=True)
class Layer:
    """One layer of a chain."""

    name: str
    """Of the module; its parameters are `NAME.weight` and so on."""
    module: nn.Module


@torch.no_grad()
def layer_chain(model: nn.Module, pixels: torch.Tensor, ref: str) -> tuple[Layer, ...]:
    """All layers of a model, in the order in which images go through them.

    Args:
        pixels: a few images as the model sees them, (n, channels, height, width).
        ref: what the model is called in errors.

    Raises ThreatspecError TS-TARGETS for a model whose layers do not simply follow one another
    (shortcuts, attention, branches, groups), or that does something between or after them.
    """
    chain, logits = _watched(model, pixels)
    for layer in chain:
        if not _known(layer.module):
            kind = type(layer.module).__name__
            raise _refusal(f"{layer.name} of {ref} is another ({kind})")
    try:
        again = run_chain([layer.module for layer in chain], pixels)
        same = again.shape == logits.shape and torch.allclose(again, logits, rtol=1e-3, atol=1e-4)
    except RuntimeError:  # shapes that do not fit: a shortcut, or something in between
        same = False
    if not same:
        raise _refusal(f"those of {ref} do not (shortcuts, branches, or functions in between)")
    return chain


def run_chain(modules: list[nn.Module], pixels: torch.Tensor) -> torch.Tensor:
    """Images through modules one after another, flattened before the first linear layer."""
    found = pixels
    for module in modules:
        flat = isinstance(module, nn.Linear) and found.ndim > 2
        found = module(found.flatten(1) if flat else found)
    return found


def head_of(model: nn.Module, classes: int, ref: str) -> tuple[str, nn.Linear]:
    """The last linear layer, which makes the logits, and its name.

    Raises ThreatspecError TS-TARGETS for a model that ends otherwise.
    """
    linear = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Linear)]
    if not linear or linear[-1][1].out_features != classes:
        text = f"logits must be made by a linear layer, but those of {ref} are not"
        raise ThreatspecError("TS-TARGETS", f"{text}; attack another classifier")
    return linear[-1]


def _watched(model: nn.Module, pixels: torch.Tensor) -> tuple[tuple[Layer, ...], torch.Tensor]:
    """Modules without parts, in the order of their use, and the logits."""
    seen: list[Layer] = []
    hooks = [
        module.register_forward_hook(lambda m, _, out, name=name: seen.append(Layer(name, m)))
        for name, module in model.named_modules()
        if not list(module.children())
    ]
    try:
        logits: torch.Tensor = model(pixel_values=pixels).logits
    finally:
        for hook in hooks:
            hook.remove()
    return tuple(seen), logits


def _known(module: nn.Module) -> bool:
    if isinstance(module, nn.Conv2d):
        return module.groups == 1 and module.padding_mode == "zeros"
    if isinstance(module, nn.BatchNorm2d):
        return module.affine and module.track_running_stats
    return isinstance(module, (nn.Linear, *_ALONE)) or _activation(module)


def _activation(module: nn.Module) -> bool:
    return type(module).__module__ == "transformers.activations"


def _refusal(what: str) -> ThreatspecError:
    remedy = "attack a VGG or a plain convolutional network"
    return ThreatspecError("TS-TARGETS", f"{_WANTED}, but {what}; {remedy}")
