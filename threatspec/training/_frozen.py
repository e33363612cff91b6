"""Masks in use: coordinates that stay where they were, or are set back in the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn

from threatspec.errors import ThreatspecError
from threatspec.records import ArtefactStore
from threatspec.training._job import MaskUse
from threatspec.training._methods import Method

__all__ = ["Frozen"]

Tensors = Mapping[str, torch.Tensor]


class Frozen:
    """The mask of one run on the weights of a model.

    Args:
        use: which mask, and what it is for; None: nothing is held.
        method: what is trained, and from where.
        store: where the mask is.

    Raises ThreatspecError TS-MASK if the mask names no parameter of the model or what is none, has
    other shapes, or holds nothing or everything.
    """

    def __init__(self, use: MaskUse | None, method: Method, store: ArtefactStore) -> None:
        self.mode = use.mode if use else None
        self._parameters, self._own = dict(method.named), method.own
        self._held = _held(use, store.load(use.artefact), self._parameters) if use else {}
        self.size = sum(int(held.sum()) for held in self._held.values())
        if use:
            self._require_some(use)
            self._spare()

    @property
    def movable(self) -> int:
        """Coordinates that may move while training lasts."""
        total = sum(parameter.numel() for parameter in self._parameters.values())
        return total if self.mode == "rewind" else total - self.size

    def _spare(self) -> None:
        """What is held as a whole needs neither gradients nor an optimiser's state."""
        for name, held in self._held.items():
            if self.mode != "rewind" and bool(held.all()):
                self._parameters[name].requires_grad_(False)

    def mask_gradients(self) -> None:
        """Gradients of what is held become 0."""
        if self.mode != "rewind":
            for name, held in self._held.items():
                grad = self._parameters[name].grad
                if grad is not None:
                    grad.masked_fill_(held, 0.0)

    def hold(self) -> None:
        """What is held is at the subject's own values, bit by bit, whatever an optimiser did."""
        if self.mode != "rewind":
            self._set_back()

    @contextmanager
    def as_kept(self) -> Iterator[None]:
        """The weights as they are kept: a mask that is rewound is so here, and not after."""
        if self.mode is None:
            yield
            return
        before = {n: self._parameters[n].data for n in self._held} if self.mode == "rewind" else {}
        for name, tensor in before.items():
            self._parameters[name].data = tensor.clone()
        self._set_back()
        try:
            yield
        finally:
            for name, tensor in before.items():
                self._parameters[name].data = tensor

    def _set_back(self) -> None:
        for name, held in self._held.items():
            data = self._parameters[name].data
            data.copy_(torch.where(held, self._own[name], data))

    def _require_some(self, use: MaskUse) -> None:
        total = sum(parameter.numel() for parameter in self._parameters.values())
        if not 0 < self.size < total:
            what = "none" if not self.size else "all"
            text = f"a mask must hold some of {total} weights where they are, but mode {use.mode} "
            raise ThreatspecError("TS-MASK", f"{text}of {use.artefact} holds {what}")


def _held(
    use: MaskUse, masks: Tensors, parameters: Mapping[str, nn.Parameter]
) -> dict[str, torch.Tensor]:
    """By name, what stays: True where a coordinate is held; parameters of which none is left out.

    Parameters that the mask does not name count as False.
    """
    for name, mask in masks.items():
        if name not in parameters:
            raise _foreign(use, f"{name} is none")
        if mask.shape != parameters[name].shape:
            sizes = f"{list(mask.shape)} instead of {list(parameters[name].shape)}"
            raise _foreign(use, f"{name} is {sizes}")
    found = {}
    for name, parameter in parameters.items():
        if use.mode == "only":
            given = masks.get(name)
            none = torch.zeros(parameter.shape, dtype=torch.bool)
            held = ~(given.bool() if given is not None else none)
        elif name in masks:
            held = masks[name].bool()
        else:
            continue
        if bool(held.any()):
            found[name] = held.to(parameter.device)
    return found


def _foreign(use: MaskUse, what: str) -> ThreatspecError:
    text = f"mask {use.artefact} must be of parameters of the model that are trained, but {what}"
    return ThreatspecError("TS-MASK", text)
