"""Dropout of a model's own layers, set for the length of a run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.nn.modules.dropout import _DropoutNd

__all__ = ["dropout"]

_ATTRIBUTES = ("attention_dropout", "attn_dropout", "resid_dropout", "hidden_dropout", "dropout")
"""Where layers of transformers hold a probability as a number."""


@contextmanager
def dropout(model: nn.Module, probability: float | None) -> Iterator[None]:
    """Set dropout everywhere in `model`; what was there comes back. None changes nothing.

    Call it before the model is wrapped: an adapter's dropout is the adapter's own.
    """
    places = list(_places(model)) if probability is not None else []
    before = [(module, name, getattr(module, name)) for module, name in places]
    try:
        for module, name in places:
            setattr(module, name, probability)
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


def _places(model: nn.Module) -> Iterator[tuple[Any, str]]:
    for module in model.modules():
        if isinstance(module, _DropoutNd):
            yield module, "p"
        for name in _ATTRIBUTES:
            if isinstance(getattr(module, name, None), float):
                yield module, name
