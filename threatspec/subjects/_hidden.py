"""Hidden states of a decoder: where they are, and vectors that are added to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from threatspec.errors import ThreatspecError

__all__ = ["Change", "added", "place_of", "watched"]

Change = Callable[[torch.Tensor], torch.Tensor]
"""Given hidden states [rows, length, hidden], what takes their place."""


def place_of(model: Any, layer: int) -> nn.Module:
    """The module that puts out the hidden states of a layer: 0 = the token embeddings, n = block n.

    Raises ThreatspecError TS-TARGETS for a layer that the model does not have.
    """
    if layer == 0:
        found: nn.Module = model.get_input_embeddings()
        return found
    blocks = _blocks(model)
    if not 0 < layer <= len(blocks):
        raise ThreatspecError(
            "TS-TARGETS",
            f"layers must be 0 (the token embeddings) or one of the {len(blocks)} blocks, "
            f"but {layer} is none",
        )
    return blocks[layer - 1]


def _blocks(model: Any) -> nn.ModuleList:
    """The repeated blocks: the first list of modules that has as many as the configuration says."""
    count = model.config.get_text_config(decoder=True).num_hidden_layers
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return module
    raise ThreatspecError(
        "TS-TARGETS", f"layers must be blocks of the model, but no list of {count} was found in it"
    )


@contextmanager
def watched(model: Any, changes: Mapping[int, Change]) -> Iterator[None]:
    """Let `changes` see, and replace, the hidden states of layers while the context lasts."""
    handles = []
    try:
        for layer, change in changes.items():
            handles.append(place_of(model, layer).register_forward_hook(_hook(change)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hook(change: Change) -> Callable[..., Any]:
    def hook(_module: nn.Module, _given: Any, out: Any) -> Any:
        if isinstance(out, torch.Tensor):
            return change(out)
        return (change(out[0]), *out[1:])

    return hook


@contextmanager
def added(model: Any, vectors: Mapping[int, torch.Tensor]) -> Iterator[None]:
    """Add vectors [hidden] to the hidden states of layers, at every position."""
    with watched(model, {layer: _adding(vector) for layer, vector in vectors.items()}):
        yield


def _adding(vector: torch.Tensor) -> Change:
    return lambda hidden: hidden + vector.to(hidden)
