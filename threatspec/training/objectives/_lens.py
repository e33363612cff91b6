"""What an objective looks at inside a decoder: MLPs, final norm, output layer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from threatspec.errors import ThreatspecError
from threatspec.training.regions._layers import blocks_of

__all__ = ["final_norm", "lens", "mlp_outputs", "mlps_of"]


def mlps_of(model: nn.Module) -> tuple[nn.Module, ...]:
    """The MLP of every block, or what ends it: the last child with matrices that is no attention.

    Raises ThreatspecError TS-TARGETS for a block without one.
    """
    prefix, blocks = blocks_of(model)
    found = [[m for name, m in block.named_children() if _is_mlp(name, m)] for block in blocks]
    bare = next((index for index, own in enumerate(found) if not own), None)
    if bare is not None:
        text = f"every block must have an MLP, but {prefix}.{bare} of {type(model).__name__} has "
        raise ThreatspecError("TS-TARGETS", text + "none; use another safeguard for this model")
    return tuple(own[-1] for own in found)


def _is_mlp(name: str, module: nn.Module) -> bool:
    words = f"{name} {type(module).__name__}".lower()
    attends = "attn" in words or "attention" in words
    return not attends and any(p.dim() > 1 for p in module.parameters())


@contextmanager
def mlp_outputs(model: nn.Module) -> Iterator[list[torch.Tensor]]:
    """What the MLPs put out while the context is open, in the order of the blocks.

    Each is [rows, length, hidden], or [rows x length, hidden] for some decoders.
    """
    seen: list[torch.Tensor] = []

    def keep(module: nn.Module, given: Any, output: Any) -> None:
        seen.append(output[0] if isinstance(output, tuple) else output)

    handles = [mlp.register_forward_hook(keep) for mlp in mlps_of(model)]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def final_norm(model: nn.Module) -> nn.Module:
    """The norm between the last block and the output layer.

    Raises ThreatspecError TS-TARGETS if no norm stands beside the blocks.
    """
    prefix, _ = blocks_of(model)
    beside = model.get_submodule(prefix.rpartition(".")[0]).named_children()
    norms = [module for _, module in beside if "norm" in type(module).__name__.lower()]
    if not norms:
        text = f"a norm must stand beside {prefix} to read hidden states by, but "
        raise ThreatspecError("TS-TARGETS", f"{text}{type(model).__name__} has none")
    return norms[-1]


def lens(model: Any, state: torch.Tensor, *, normed: bool) -> torch.Tensor:
    """Logits that a hidden state would give, [..., vocabulary]; `normed`: it is normed already."""
    head = model.get_output_embeddings()
    state = state.to(head.weight.device)
    if not normed:
        state = final_norm(model)(state)
    logits: torch.Tensor = head(state)
    return logits
