"""Finding the matrices of a decoder: linear layers, GPT-2's transposed ones, fused experts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from threatspec.errors import ThreatspecError

__all__ = ["Matrix", "blocks_of", "matrices_of", "text_config"]

_ROUTERS = frozenset({"gate", "router"})


@dataclass(frozen=True, slots=True, eq=False)
class Matrix:
    """One matrix of one block, as [outputs, inputs] however it is stored."""

    name: str
    """Of the parameter."""
    module: nn.Module
    """What owns the parameter."""
    block: int
    transposed: bool = False
    """Stored as [inputs, outputs]."""
    part: int | None = None
    """Number of the expert, for a parameter that holds one matrix per expert."""

    @property
    def leaf(self) -> str:
        """What the layer is called within its parent, e.g. `q_proj`."""
        names = self.name.split(".")
        return names[-2] if names[-1] == "weight" else names[-1]

    @property
    def parent(self) -> str:
        """What the layer is part of, e.g. `model.layers.0.self_attn`."""
        return self.name.removesuffix(".weight").rpartition(".")[0]

    def view(self, tensor: torch.Tensor) -> torch.Tensor:
        """Of a tensor with the parameter's shape, this matrix: [outputs, inputs], no copy."""
        own = tensor if self.part is None else tensor[self.part]
        return own.T if self.transposed else own

    @property
    def weight(self) -> torch.Tensor:
        """The matrix itself, [outputs, inputs]; changing it would change the subject."""
        parameter: torch.Tensor = getattr(self.module, self.name.rpartition(".")[2])
        return self.view(parameter.detach())


def text_config(model: nn.Module) -> Any:
    """Configuration of the language model."""
    config: Any = model.config
    return config.get_text_config()


def blocks_of(model: nn.Module) -> tuple[str, nn.ModuleList]:
    """The decoder's blocks and the name of their list.

    Raises ThreatspecError TS-TARGETS if nothing looks like a list of decoder blocks.
    """
    count = text_config(model).num_hidden_layers
    lists = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == count
    ]
    if not lists:
        raise ThreatspecError(
            "TS-TARGETS",
            f"a model must have a list of its {count} decoder blocks to be scored or edited, but "
            f"{type(model).__name__} has none",
        )
    return max(lists, key=lambda entry: sum(p.numel() for p in entry[1].parameters()))


def matrices_of(model: nn.Module) -> tuple[Matrix, ...]:
    """All matrices of attention and MLP in the blocks, in the order of the model.

    Embeddings, the output layer and routers of experts are never among them.

    Raises ThreatspecError TS-TARGETS if there are none.
    """
    prefix, blocks = blocks_of(model)
    found: list[Matrix] = []
    for index, block in enumerate(blocks):
        routed = _routed(block)
        for path, module in block.named_modules():
            if path and "lora_" not in path and path not in routed:
                found += _of_module(f"{prefix}.{index}.{path}", module, index)
    if not found:
        raise ThreatspecError(
            "TS-TARGETS",
            f"blocks must hold linear layers, Conv1D or fused experts, but {prefix} of "
            f"{type(model).__name__} holds none",
        )
    return tuple(found)


def _routed(block: nn.Module) -> set[str]:
    """Paths of layers that choose experts."""
    return {
        f"{path}.{name}".lstrip(".")
        for path, module in block.named_modules()
        if hasattr(module, "experts")
        for name, _ in module.named_children()
        if name in _ROUTERS
    }


def _of_module(path: str, module: nn.Module, block: int) -> Iterator[Matrix]:
    from transformers.pytorch_utils import Conv1D

    if isinstance(module, (nn.Linear, Conv1D)):
        yield Matrix(f"{path}.weight", module, block, transposed=isinstance(module, Conv1D))
    elif is_fused(module):
        for name in fused_names(module):
            for part in range(getattr(module, name).shape[0]):
                yield Matrix(f"{path}.{name}", module, block, bool(module.is_transposed), part)


def is_fused(module: nn.Module) -> bool:
    """Whether a module holds all its experts in tensors of three dimensions."""
    known = all(hasattr(module, name) for name in ("has_gate", "is_transposed", "down_proj"))
    return known and isinstance(module.down_proj, nn.Parameter)


def fused_names(module: nn.Module) -> tuple[str, str]:
    """Parameters of fused experts: what goes up, what comes down."""
    return ("gate_up_proj" if module.has_gate else "up_proj", "down_proj")
