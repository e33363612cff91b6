"""A suffix as an artefact: UTF-8 bytes in a tensor, shown as a label everywhere else."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from threatspec.records import ArtefactStore

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["kept_text", "label_of", "stored_text"]

_NAME = "suffix"


def kept_text(text: str, store: ArtefactStore) -> str:
    """Write `text`; the artefact's name."""
    import torch

    return store.save({_NAME: torch.tensor(list(text.encode()), dtype=torch.uint8)})


def stored_text(tensors: Mapping[str, Tensor] | Mapping[str, Any]) -> str:
    """The text of an artefact's tensors. Raises KeyError for those of another artefact."""
    return bytes(tensors[_NAME].tolist()).decode()


def label_of(text: str) -> str:
    """What records show in the place of `text`: enough to tell two apart."""
    return f"suffix {hashlib.sha256(text.encode()).hexdigest()[:8]}"
