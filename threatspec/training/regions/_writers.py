"""What writes to the residual stream: last layers of attention and of MLPs, untied embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from threatspec.errors import ThreatspecError
from threatspec.training.regions._layers import Matrix, blocks_of, matrices_of, text_config

__all__ = ["Writer", "untied_embedding", "writers_of"]

_ATTENTION = frozenset({"o_proj", "out_proj", "dense", "wo"})
_MLP = frozenset({"down_proj", "fc2", "fc_out", "dense_4h_to_h", "w2"})
_EITHER = frozenset({"c_proj"})


@dataclass(frozen=True, slots=True)
class Writer:
    """One matrix whose outputs are added to the residual stream."""

    matrix: Matrix
    bias: str | None
    """Parameter that is added to the outputs."""
    gain: torch.Tensor
    """What a norm between the matrix and the stream multiplies outputs with, [hidden]."""


def writers_of(model: nn.Module) -> tuple[Writer, ...]:
    """All writers of the blocks. Raises ThreatspecError TS-TARGETS if none is known by name."""
    hidden = text_config(model).hidden_size
    own = {name for name, _ in model.named_parameters()}
    _, blocks = blocks_of(model)
    found = [
        Writer(matrix, _bias(matrix, own), _gain(blocks[matrix.block], matrix, hidden))
        for matrix in matrices_of(model)
        if matrix.leaf in _ATTENTION | _MLP | _EITHER and matrix.weight.shape[0] == hidden
    ]
    if not found:
        raise ThreatspecError(
            "TS-TARGETS",
            f"blocks must write by layers that are known by name (such as o_proj or down_proj), "
            f"but those of {type(model).__name__} do not",
        )
    return tuple(found)


def untied_embedding(model: Any) -> str | None:
    """Name of the token embeddings, unless they are the output layer too: these are left alone."""
    table = model.get_input_embeddings().weight
    output = model.get_output_embeddings()
    if output is not None and output.weight is table:
        return None
    return next((name for name, p in model.named_parameters() if p is table), None)


def _bias(matrix: Matrix, own: set[str]) -> str | None:
    name = matrix.name.removesuffix("weight") + "bias"
    name = name if matrix.part is None else f"{matrix.name}_bias"
    return name if name in own else None


def _gain(block: nn.Module, matrix: Matrix, hidden: int) -> torch.Tensor:
    """Some decoders (Gemma 2 and later) normalise what a layer puts out before it is added.

    Such a norm divides by a number and multiplies by a vector: the vector is what it makes of ones.
    """
    ones = torch.ones(hidden, dtype=torch.float64)
    after = getattr(block, "post_feedforward_layernorm", None)
    if after is None:
        return ones
    if matrix.leaf in _ATTENTION:
        after = getattr(block, "post_attention_layernorm", after)
    weight = next(after.parameters())
    gain: torch.Tensor = after(torch.ones(hidden, dtype=weight.dtype, device=weight.device))
    return gain.double()
