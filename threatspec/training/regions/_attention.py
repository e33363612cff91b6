"""Attention heads: where they lie in the layers around them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from torch import nn

from threatspec.errors import ThreatspecError
from threatspec.training.regions._layers import Matrix, matrices_of, text_config

__all__ = ["Attention", "attentions_of"]

_ATTENTION = re.compile(r"(^|_)(attn|attention)$")
_OUTPUTS = frozenset({"o_proj", "out_proj", "c_proj", "dense", "wo"})
_QUERIES, _KEYS = frozenset({"q_proj"}), frozenset({"k_proj", "v_proj"})
_FUSED = frozenset({"c_attn", "qkv_proj"})
"""Outputs are all queries, then all keys, then all values."""


@dataclass(frozen=True, slots=True)
class Attention:
    """One attention layer."""

    block: int
    output: Matrix
    """Its inputs are the heads, one after the other."""
    inputs: tuple[Matrix, ...]
    """What makes queries, keys and values."""
    heads: int
    key_heads: int

    @property
    def width(self) -> int:
        """Of one head."""
        return int(self.output.weight.shape[1]) // self.heads

    def columns(self, head: int) -> slice:
        """Inputs of the output layer that come from a head."""
        return slice(head * self.width, (head + 1) * self.width)

    def rows(self, matrix: Matrix, heads: frozenset[int]) -> list[slice]:
        """Outputs of one of `inputs` that only `heads` read; none for layouts not known here.

        Keys and values that several heads share are among them if all of these heads are.
        """
        outputs, groups = matrix.weight.shape[0], self._groups(heads)
        queries, keys = self.heads * self.width, self.key_heads * self.width
        if matrix.leaf in _QUERIES and outputs == queries:
            return self._slices(heads, 0)
        if matrix.leaf in _KEYS and outputs == keys:
            return self._slices(groups, 0)
        if matrix.leaf in _FUSED and outputs == queries + 2 * keys:
            return [
                *self._slices(heads, 0),
                *self._slices(groups, queries),
                *self._slices(groups, queries + keys),
            ]
        return []

    def _groups(self, heads: frozenset[int]) -> frozenset[int]:
        size = self.heads // self.key_heads
        return frozenset(
            group
            for group in range(self.key_heads)
            if heads.issuperset(range(group * size, (group + 1) * size))
        )

    def _slices(self, heads: frozenset[int], start: int) -> list[slice]:
        width = self.width
        return [slice(start + h * width, start + (h + 1) * width) for h in sorted(heads)]


def attentions_of(model: nn.Module) -> tuple[Attention, ...]:
    """The attention layers, block by block.

    Raises ThreatspecError TS-TARGETS if none is found or heads do not divide an output layer.
    """
    config = text_config(model)
    heads = config.num_attention_heads
    key_heads = getattr(config, "num_key_value_heads", None) or heads
    matrices = [m for m in matrices_of(model) if _ATTENTION.search(m.parent.rpartition(".")[2])]
    found = [
        Attention(m.block, m, _siblings(matrices, m), heads, key_heads)
        for m in matrices
        if m.leaf in _OUTPUTS
    ]
    if not found or any(a.output.weight.shape[1] % heads for a in found):
        raise ThreatspecError(
            "TS-TARGETS",
            f"attention must end in one of the layers {', '.join(sorted(_OUTPUTS))} with an input "
            f"for each of {heads} heads, but {type(model).__name__} has no such layers",
        )
    return tuple(found)


def _siblings(matrices: list[Matrix], output: Matrix) -> tuple[Matrix, ...]:
    return tuple(m for m in matrices if m.parent == output.parent and m is not output)
