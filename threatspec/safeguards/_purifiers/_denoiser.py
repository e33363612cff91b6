"""A small network that was trained to take noise out of clean images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import torch

from threatspec.safeguards._purifiers._differentiable import Differentiable
from threatspec.training.denoisers._net import denoised

__all__ = ["Denoiser"]


class Denoiser(Differentiable):
    """The network of an artefact (`threatspec.training.denoisers`).

    Args:
        artefact: its name.
        load: tensors of an artefact by its name.
    """

    def __init__(self, artefact: str, load: Callable[[str], Mapping[str, Any]]) -> None:
        self._artefact, self._load = artefact, load

    @cached_property
    def _tensors(self) -> Mapping[str, torch.Tensor]:
        return self._load(self._artefact)

    def through(self, batch: torch.Tensor) -> torch.Tensor:
        """Every channel by itself, without the noise that is found in it. Gradients pass the cut to
        [0, 1] as if it were none: black pixels would hide theirs from an attack."""
        found = denoised(self._tensors, batch)
        return found + (found.clamp(0, 1) - found).detach()
