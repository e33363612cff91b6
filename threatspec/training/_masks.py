"""Masks of weights: which coordinates may move, chosen by change or by score.

Lottery ticket adaptation (arXiv 2406.16797): the coordinates that a first training moved most, with
one threshold over all matrices of attention and MLP. Freezing (arXiv 2402.05162): those with the
highest scores. True always means chosen; what that is for is said by `MaskUse`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import nn

from threatspec.errors import ThreatspecError
from threatspec.training._asks import Mask, MaskRequest
from threatspec.training._largest import largest, largest_of_rows
from threatspec.training.regions._artefacts import load_scores
from threatspec.training.regions._layers import matrices_of

if TYPE_CHECKING:
    from threatspec.records import ArtefactStore
    from threatspec.subjects._resident import ResidentSubject

__all__ = ["eligible", "make_mask"]

_ENTRYWISE = ("snip", "wanda")
"""Methods that score every weight on its own."""


def make_mask(subject: ResidentSubject, request: MaskRequest, store: ArtefactStore) -> Mask:
    """Choose round(share x n) of the n coordinates that may be chosen, and keep them in `store`.

    In scope `tensor` and `row` that holds in each tensor or row. Of equal values the first are
    chosen, in the order of the model's parameters and then of their flat index. With
    `largest-change` the subject's weights are what the change is measured from.

    Raises ThreatspecError TS-SCORES if an artefact is not of this subject or not finite, TS-MASK if
    nothing or everything would be chosen, or weights that did not move.
    """
    choice = _Choice(subject, request, store)
    chosen = dict(choice.marked())
    count = sum(int(mask.sum()) for mask in chosen.values())
    _require_some(request, count, choice.total)
    return Mask(artefact=store.save(chosen), chosen=count, total=choice.total)


def eligible(model: nn.Module, parts: str) -> dict[str, nn.Parameter]:
    """Parameters that may be chosen, by name, in the order of the model.

    `blocks`: matrices of attention and MLP, fused experts included; `linear`: these, routers of
    experts, and the head unless it is tied to the embeddings; `all`: every parameter. Embeddings
    are only part of `all`.

    Raises ThreatspecError TS-TARGETS for a model without decoder blocks.
    """
    found = dict(model.named_parameters())
    if parts == "all":
        return found
    if parts == "blocks":
        own = {matrix.name for matrix in matrices_of(model)}
        return {name: parameter for name, parameter in found.items() if name in own}
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    return {n: p for n, p in found.items() if p.dim() >= 2 and id(p) not in tables}


class _Choice:
    """One request with everything that it reads."""

    def __init__(
        self, subject: ResidentSubject, request: MaskRequest, store: ArtefactStore
    ) -> None:
        self.request = request
        self.ref = subject.card.ref
        self.source = self._fitting(subject, self._read(subject, store))
        self.own = eligible(subject.model, request.parts)
        self._require_scored()
        beside = self._fitting(subject, store.load(request.beside)) if request.beside else {}
        self.free = {n: ~mask.bool().flatten() for n, mask in beside.items() if n in self.own}
        self.turned = {m.name for m in matrices_of(subject.model) if m.transposed}

    @property
    def total(self) -> int:
        """Coordinates that may be chosen."""
        held = sum(int((~free).sum()) for free in self.free.values())
        return sum(parameter.numel() for parameter in self.own.values()) - held

    def marked(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Booleans by name, shaped like the parameters."""
        if self.request.method == "largest-change":
            self._require_moved(round(self.request.share * self.total))
        if self.request.scope == "global":
            found = self._largest(list(self.own), round(self.request.share * self.total))
        elif self.request.scope == "tensor":
            found = (pair for name in self.own for pair in self._of_tensor(name))
        else:
            found = ((name, self._of_rows(name)) for name in self.own)
        for name, mask in found:
            yield name, mask.view(self.own[name].shape)

    def _largest(self, names: list[str], count: int) -> Iterator[tuple[str, torch.Tensor]]:
        if count:
            return largest(names, self._values, count, self.free)
        return ((name, torch.zeros(self.own[name].numel(), dtype=torch.bool)) for name in names)

    def _of_tensor(self, name: str) -> Iterator[tuple[str, torch.Tensor]]:
        return self._largest([name], round(self.request.share * self._room(name)))

    def _of_rows(self, name: str) -> torch.Tensor:
        """Rows are those of the layer's outputs, whichever way its matrix is stored."""
        shape = self.own[name].shape
        turned = name in self.turned

        def rows(flat: torch.Tensor) -> torch.Tensor:
            own = flat.view(shape)
            own = own.transpose(-1, -2) if turned else own
            return own.reshape(-1, own.shape[-1])

        free = rows(self.free[name]) if name in self.free else None
        found = largest_of_rows(rows(self._values(name)), self.request.share, free)
        if turned:
            found = found.view(*shape[:-2], shape[-1], shape[-2]).transpose(-1, -2)
        return found.flatten()

    def _values(self, name: str) -> torch.Tensor:
        """What is compared: the change of every weight, or its score."""
        found = self.source[name].float()
        if self.request.method == "largest-change":
            found = (found - self.own[name].detach().cpu().float()).abs()
        if not bool(found.isfinite().all()):
            raise self._other(f"must be finite, but are not in {name}")
        return found.flatten()

    def _room(self, name: str) -> int:
        return int(self.free[name].sum()) if name in self.free else self.own[name].numel()

    def _read(self, subject: ResidentSubject, store: ArtefactStore) -> dict[str, torch.Tensor]:
        if self.request.method == "largest-change":
            return store.load(self.request.source)
        return load_scores(subject, self.request.source, store, *_ENTRYWISE)

    def _fitting(
        self, subject: ResidentSubject, tensors: dict[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """Tensors that have the names and shapes of parameters of the subject."""
        shapes = {name: p.shape for name, p in subject.model.named_parameters()}
        for name, tensor in tensors.items():
            if name not in shapes:
                raise self._other(f"must be of {self.ref}, but name {name}")
            if tensor.shape != shapes[name]:
                sizes = f"{list(tensor.shape)} instead of {list(shapes[name])}"
                raise self._other(f"must be of {self.ref}, but {name} is {sizes}")
        return tensors

    def _require_scored(self) -> None:
        """Changes must be known of all; what has no score cannot be chosen."""
        missing = [name for name in self.own if name not in self.source]
        if missing and (self.request.method == "largest-change" or len(missing) == len(self.own)):
            raise self._other(f"must be of {self.ref}, but lack {missing[0]}")
        self.own = {name: self.own[name] for name in self.own if name in self.source}

    def _require_moved(self, count: int) -> None:
        """Weights that stayed where they were are no ticket: training that did not act is told."""
        moved = sum(int((self._values(name) > 0).sum()) for name in self.own)
        if moved < count:
            text = f"a mask must choose weights that moved, but only {moved} did, "
            text += f"and share {self.request.share:g} chooses {count}"
            raise ThreatspecError("TS-MASK", text)

    def _other(self, text: str) -> ThreatspecError:
        what = "changes" if self.request.method == "largest-change" else "scores"
        return ThreatspecError("TS-SCORES", f"{what} {text}")


def _require_some(request: MaskRequest, chosen: int, total: int) -> None:
    if not 0 < chosen < total:
        rule, what = ("some", "none") if not chosen else ("not all", "all")
        text = f"a mask must choose {rule} weights, but share {request.share:g} of {total}"
        raise ThreatspecError("TS-MASK", f"{text} chooses {what}")
