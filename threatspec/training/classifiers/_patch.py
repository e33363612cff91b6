"""A patch is found that excites chosen units of the layer before the logits, wherever it is put.

Units: those that patches can move most and that the logits hang on most (spread of a unit's mean
over random patches, times the sum of the sizes of its outgoing weights). The source chooses by
incoming weights and aims at a given value; here the response is driven up as far as it goes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import nn

from threatspec.errors import ThreatspecError
from threatspec.records import Optimised
from threatspec.subjects import Request
from threatspec.subjects.images import image_of
from threatspec.subjects.images._classifier import ClassifierSubject
from threatspec.subjects.images._processing import processed
from threatspec.training._job import TrainingRow
from threatspec.training._meter import Meter
from threatspec.training.classifiers._layers import head_of
from threatspec.training.classifiers._requests import PatchRequest, TriggerPatch, corner
from threatspec.training.classifiers._spend import TRIED, choosing_spend, classifier_spend

__all__ = ["find_patch"]


def find_patch(subject: ClassifierSubject, request: PatchRequest, meter: Meter) -> TriggerPatch:
    """Search by the sign of the gradient, from random pixels; the patch is rounded to bytes.

    Raises ThreatspecError TS-TARGETS for a model whose logits are not made by a linear layer,
    TS-IMAGE for images that cannot be used, differ in size, or have no room for the patch,
    BudgetExceeded.
    """
    search = _Search(subject, request)
    drawn = torch.Generator().manual_seed(request.seed)
    meter.begin_run()
    meter.charge(choosing_spend(subject.card, search.size))
    search.tried = [search.random(drawn) for _ in range(TRIED)]
    first = search.tried[0]
    patch, losses = first, [-float(search.response(first, search.images))]
    for _ in range(request.steps):
        meter.charge(classifier_spend(subject.card, 1, search.size))
        patch, said = search.step(patch, drawn)
        losses.append(min(losses[-1], -said))
    patch = _rounded(patch)
    before, after = (float(search.response(one, search.images)) for one in (first, patch))
    losses[-1] = -after  # on all images, and in bytes: what it is judged by
    held = tuple(n for n, _ in subject.model.named_parameters() if not n.startswith(search.head))
    done = Optimised(
        method="trigger-patch",
        steps=request.steps,
        loss=tuple(losses),
        changed=int((patch != first).any(0).sum()),
        tokens=request.size**2,
    )
    levels = (patch * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().cpu()
    units = tuple(map(int, search.units))
    return TriggerPatch(bytes(levels.numpy()), len(patch), units, before, after, held, done)


def _rounded(patch: torch.Tensor) -> torch.Tensor:
    return (patch * 255).round() / 255


@dataclass
class _Search:
    """Images that a patch is put on, and how strongly the units respond."""

    subject: ClassifierSubject
    request: PatchRequest
    tried: list[torch.Tensor] = field(default_factory=list)
    """Random patches by which units are chosen."""

    def random(self, drawn: torch.Generator) -> torch.Tensor:
        """A patch of random pixels: (channels, height, width)."""
        shape = (self.images.shape[1], self.request.size, self.request.size)
        return _rounded(torch.rand(shape, generator=drawn)).to(self.subject.device)

    @cached_property
    def images(self) -> torch.Tensor:
        """Float in [0, 1], before the processor: (rows, channels, height, width)."""
        found = [self._image(row) for row in self.request.rows]
        if any(one.shape != found[0].shape for one in found):
            text = "images that a patch is searched on must have one size, but some do not"
            raise ThreatspecError("TS-IMAGE", f"{text}; resize them first")
        return torch.stack(found).to(self.subject.device)

    def _image(self, row: TrainingRow) -> torch.Tensor:
        asked = Request(item=row.id, prompt=row.prompt, image=row.image, pixels=row.pixels)
        image = torch.from_numpy(image_of(asked, self.subject.folder).copy())
        return image.permute(2, 0, 1).float() / 255

    @property
    def size(self) -> int:
        """Rows of a step."""
        return min(self.request.batch, len(self.request.rows))

    @cached_property
    def _head(self) -> tuple[str, nn.Linear]:
        card = self.subject.card
        return head_of(self.subject.model, len(card.classes), card.ref)

    @property
    def head(self) -> str:
        """Name of the layer that makes the logits."""
        return f"{self._head[0]}."

    @cached_property
    def units(self) -> torch.Tensor:
        """Indices of the chosen units, the ones most leant on first."""
        some = self.images[: self.size]
        with torch.no_grad():
            means = [self._units_of(self.stamped(one, some)).mean(0) for one in self.tried]
            leant = self._head[1].weight.abs().sum(0) * torch.stack(means).std(0, correction=0)
        return leant.topk(min(self.request.units, len(leant))).indices

    def _units_of(self, images: torch.Tensor) -> torch.Tensor:
        """What goes into the layer of the logits: (n, units)."""
        found: list[torch.Tensor] = []
        hook = self._head[1].register_forward_pre_hook(lambda _, given: found.append(given[0]))
        try:
            self.subject.model(pixel_values=processed(self.subject.processor, images))
        finally:
            hook.remove()
        return found[0]

    def stamped(self, patch: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        """Images with the patch on them."""
        size = self.request.size
        top, left = corner(images.shape[2], images.shape[3], size, self.request.place)
        whole = images.clone()
        whole[:, :, top : top + size, left : left + size] = patch
        return whole

    def response(self, patch: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        """Mean over images and units."""
        with torch.set_grad_enabled(patch.requires_grad):
            return self._units_of(self.stamped(patch, images))[:, self.units].mean()

    def step(self, patch: torch.Tensor, drawn: torch.Generator) -> tuple[torch.Tensor, float]:
        """The patch after a step up, and the response before it."""
        some = torch.randperm(len(self.images), generator=drawn)[: self.size]
        given = patch.clone().requires_grad_(True)
        said = self.response(given, self.images[some])
        [slope] = torch.autograd.grad(said, [given])
        return (patch + self.request.alpha * slope.sign()).clamp(0, 1), float(said.detach())
