"""Projected gradient descent on pixels: one loop for every model that is shown images.

Source: arXiv 2306.13213, section 3 (one image against a corpus of target texts), after arXiv
1706.06083 (PGD). What is kept is a checkpoint in bytes, as it can be sent: rounding, resizing and,
of an adaptive search, what the provider does to images are part of what is searched.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from threatspec.records import ArtefactStore, Optimised, Spend
from threatspec.subjects import Offer, Request
from threatspec.subjects.images._processing import kept_share, misfit
from threatspec.training._job import TrainingRow
from threatspec.training._meter import Meter
from threatspec.training.pixels._ask import PerturbationRequest, Perturbed
from threatspec.training.pixels._bytes import rounded
from threatspec.training.pixels._canvas import Canvas
from threatspec.training.pixels._provider import Provider
from threatspec.training.pixels._spend import shown_spend
from threatspec.training.pixels._steps import moved, projected, started

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Change = NDArray[np.int16]

__all__ = ["find_pixels"]

_AT_ONCE = 64
"""Images that are read at once where no gradient is wanted."""
_FIT = 3.0
"""Bytes by which the differentiable processor may miss the real one, which rounds on the way."""


def find_pixels(
    subject: Any,
    request: PerturbationRequest,
    store: ArtefactStore,
    meter: Meter,
    received: Callable[[Sequence[Request]], list[Request]] = list,
) -> Perturbed:
    """Search an image, or a shared change of images, on a subject whose weights stay as they are.

    Args:
        subject: with `losses(images, rows)`; a surrogate is given as one.
        received: what the provider makes of requests, for adaptive searches.

    Raises BudgetExceeded before a step that the meter's budget does not cover; ThreatspecError
    TS-IMAGE for images that cannot be used, TS-POISON for a class that is not there.
    """
    search = _Search(subject, request, meter, received)
    search.run()
    return search.found(store)


class _Search:
    """One search; `best` is the change with the lowest loss so far, in bytes."""

    def __init__(
        self,
        subject: Any,
        request: PerturbationRequest,
        meter: Meter,
        received: Callable[[Sequence[Request]], list[Request]],
    ) -> None:
        self.subject, self.request, self.meter = subject, request, meter
        self._charge = meter.charge_unasked if request.surrogate else meter.charge
        folder = getattr(subject, "folder", Path())
        self.canvas = Canvas(request.rows, request, folder, subject.device)
        self.provider = Provider(self.canvas.requests, received)
        self.read, self.meets = self.canvas, self.provider
        if request.dev:
            self.read = Canvas(request.dev, request, folder, subject.device)
            self.meets = Provider(self.read.requests, received)
        self.best: Change = np.zeros(self.canvas.shape, dtype=np.int16)
        self._least = 0.0
        self.losses = [self._loss(self.best)]
        """Of the clean images, then of the best change after each checkpoint."""

    def run(self) -> None:
        """All restarts."""
        for number in range(self.request.restarts):
            self.meter.begin_run()
            self._restart(number)

    def _restart(self, number: int) -> None:
        request = self.request
        order = random.Random(f"threatspec/pixels/{request.seed}/{number}")
        change = started(self.canvas, request, number)
        for step in range(1, request.steps + 1):
            used = order.sample(range(len(request.rows)), min(request.batch, len(request.rows)))
            slope = self._slope(change, used)
            change = moved(change, slope, request.norm, request.alpha)
            change = projected(change, self.canvas, request.norm, request.eps)
            if step % request.check_every == 0 or step == request.steps:
                self.check(self._rounded(change))
        if not request.steps:
            self.check(self._rounded(change))

    def _slope(self, change: torch.Tensor, used: Sequence[int]) -> torch.Tensor:
        """Gradient of the mean loss of rows by the change."""
        self._spend(self.canvas, used, backward=True)
        with torch.enable_grad():
            wanted = change.detach().requires_grad_()
            images = self.provider.through(self.canvas.painted(wanted, used), used)
            loss = self._asked(images, self.canvas, self.provider, used).mean()
            [found] = torch.autograd.grad(loss, [wanted])
        return found

    def _asked(
        self, images: torch.Tensor, canvas: Canvas, meets: Provider, used: Sequence[int]
    ) -> torch.Tensor:
        """Loss of each row; a classifier is given an image for each."""
        rows = [_as_received(canvas.rows[n], meets.requests[n]) for n in used]
        if Offer.CLASSES in self.subject.card.offers:
            images = images.expand(len(rows), -1, -1, -1)
        found: torch.Tensor = self.subject.losses(images, rows)
        return found

    def _rounded(self, change: torch.Tensor) -> Change:
        plain = change.detach()[0].permute(1, 2, 0).cpu().numpy()
        return rounded(plain, self.canvas.one, self.request.norm, self.request.eps)

    def check(self, change: Change) -> None:
        """Read a change in bytes, and keep it if it is the best so far."""
        loss = self._loss(change)
        if len(self.losses) == 1 or loss < self._least:
            self.best, self._least = change, loss
        self.losses.append(self._least)

    @torch.no_grad()
    def _loss(self, change: Change) -> float:
        """Mean loss of a change in bytes over `dev`; charged before it is spent."""
        canvas, total = self.read, 0.0
        for used in _parts(len(canvas.rows)):
            self._spend(canvas, used)
            arrays = self.meets.exactly(canvas.bytes(change, used), used)
            images = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)
            images = images.to(self.subject.device) / 255
            total += float(self._asked(images, canvas, self.meets, used).sum())
        return total / len(canvas.rows)

    def _spend(self, canvas: Canvas, used: Sequence[int], *, backward: bool = False) -> None:
        words = sum(len(f"{canvas.rows[n].prompt} {canvas.rows[n].answer}".split()) for n in used)
        images = 1 if canvas.shared else len(used)
        card, rows = self.subject.card, len(used)
        spend: Spend = shown_spend(card, words / rows, rows, images, backward=backward)
        self._charge(spend)

    def found(self, store: ArtefactStore) -> Perturbed:
        """The best change as an artefact, and what was done."""
        tensors = {"delta": torch.from_numpy(self.best)}
        if self.canvas.one is not None:
            [image] = self.canvas.bytes(self.best, [0])
            tensors = {"image": torch.from_numpy(image)}
        optimised = Optimised(
            method="pgd",
            steps=self.request.steps * self.request.restarts,
            loss=tuple(self.losses),
            changed=int(np.count_nonzero(self.best)),
            tokens=int(self.best.size),
            of="pixels",
        )
        return Perturbed(store.save(tensors), optimised, tuple(self._warnings()))

    def _warnings(self) -> Iterator[str]:
        processor = getattr(self.subject, "processor", None)
        processor = getattr(processor, "image_processor", processor)
        height, width, _ = self.canvas.shape
        lost = 1 - kept_share(processor, height, width)
        if lost > 0:
            yield (
                f"TS-IMAGE: the model's processor crops {100 * lost:.0f} % of {height} x {width} "
                "pixels away, with what was found there; give it a `size` that it keeps"
            )
        miss = misfit(processor, self.canvas.clean[0])
        if miss > _FIT:
            yield (
                "TS-IMAGE: gradients went through a processor that is not the model's own "
                f"(up to {miss:.0f}/255 beside it), so that the search is weaker than it could be"
            )


def _as_received(row: TrainingRow, request: Request) -> TrainingRow:
    """A row with the words that reach the model."""
    if request.prompt == row.prompt:
        return row
    return row.model_copy(update={"prompt": request.prompt})


def _parts(count: int) -> Iterator[range]:
    for start in range(0, count, _AT_ONCE):
        yield range(start, min(start + _AT_ONCE, count))
