"""An image classifier that stays loaded: it answers an image with the name of a class."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from threatspec.errors import ThreatspecError
from threatspec.records import Generation
from threatspec.schema import Serving
from threatspec.subjects._card import SubjectCard
from threatspec.subjects._dialogue import Query, lacking, talks_of
from threatspec.subjects._locate import describe
from threatspec.subjects._request import Request
from threatspec.subjects.images._exact import exact_pixels
from threatspec.subjects.images._load_classifier import load_classifier
from threatspec.subjects.images._processing import processed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from transformers import PreTrainedModel

    from threatspec.subjects._dialogue import Talk
    from threatspec.training import TrainingRow

__all__ = ["ClassifierSubject"]

_AT_ONCE = 64
"""Images that go through the model at once where nobody says how many."""
_BROKEN = "the model's logits are not finite numbers"


class ClassifierSubject:
    """A classifier in float32 with the processor of its images, in evaluation mode.

    Whoever changes its weights (mounting, training) gives them back bit-equal.
    """

    def __init__(
        self, card: SubjectCard, model: PreTrainedModel, processor: Any, folder: Path = Path()
    ) -> None:
        self.card = card
        self.model = model
        self.processor = processor
        self.folder = folder
        """Where images of `file:` are looked for."""

    @classmethod
    def load(
        cls,
        ref: str,
        folder: Path = Path(),
        *,
        threads: int = 1,
        device: str = "auto",
        device_map: str | None = None,
    ) -> ClassifierSubject:
        """Load classifier `ref`; `path:` and images of `file:` are relative to `folder`.

        Raises ThreatspecError TS-MODEL-MISSING, TS-MODEL-DIGEST, TS-RUNNER-RESOURCES or
        TS-MISSING-EXTRA.
        """
        torch.set_num_threads(threads)
        card = describe(ref, folder)
        model, processor = load_classifier(ref, folder, device=device, device_map=device_map)
        return cls(card, model.eval(), processor, folder)

    @property
    def device(self) -> torch.device:
        """Where images are wanted."""
        device: torch.device = next(self.model.parameters()).device
        return device

    @property
    def channels(self) -> int:
        """Channels of an image that the model sees: 1 or 3."""
        return int(getattr(self.model.config, "num_channels", 3))

    def pixels(self, requests: Sequence[Request]) -> torch.Tensor:
        """What the model sees of the images after every edit: float (n, channels, h, w), on the
        CPU. Raises ThreatspecError TS-IMAGE for the first image that cannot be used."""
        found = self._seen(requests)
        there = [pixels for pixels in found if isinstance(pixels, torch.Tensor)]
        for error in found:
            if isinstance(error, ThreatspecError):
                raise error
        return torch.stack(there) if there else torch.empty(0)

    def probabilities(self, requests: Sequence[Request]) -> NDArray[np.float32]:
        """Probability of each class: (requests, classes). Raises ThreatspecError TS-IMAGE."""
        logits = self._logits(self.pixels(requests), _AT_ONCE)
        found: NDArray[np.float32] = logits.softmax(-1).numpy()
        return found

    def losses(self, images: torch.Tensor, rows: Sequence[TrainingRow]) -> torch.Tensor:
        """-log p(class that a row's answer names | its image): (n,), differentiable in `images`.

        Args:
            images: float (n, channels or 1, height, width) in [0, 1], before the processor.

        Raises ThreatspecError TS-POISON for an answer that names no class, TS-IMAGE for images of
        colour that a grey model is shown.
        """
        if images.shape[1] not in {1, self.channels}:
            text = f"images must be grey for {self.card.ref}, but have {images.shape[1]} channels"
            raise ThreatspecError("TS-IMAGE", f"{text}; convert them first")
        shown = images.to(self.device).expand(-1, self.channels, -1, -1)
        logits = self.model(pixel_values=processed(self.processor, shown)).logits
        wanted = torch.tensor([self.class_of(row.answer) for row in rows], device=logits.device)
        return torch.nn.functional.cross_entropy(logits.float(), wanted, reduction="none")

    def class_of(self, name: str) -> int:
        """Index of a class by its name. Raises ThreatspecError TS-POISON if there is none."""
        if name not in self.card.classes:
            known = ", ".join(self.card.classes[:12])
            text = f"a class must be one of {self.card.ref} ({known}), but got {name!r}"
            raise ThreatspecError("TS-POISON", text)
        return self.card.classes.index(name)

    def ask(
        self,
        requests: Sequence[Request],
        servings: Sequence[Serving],
        *,
        micro_batch: int,
        seed: int = 0,
        query: Query = "generate",
    ) -> list[Generation]:
        """The most probable class of every image, the same under every serving and sample.

        A request without an image, or with one that cannot be used, is a row without a reply.

        Args:
            servings: they change nothing but `Generation.variant`.
            micro_batch: images that go through the model at once at most.
            seed: unused, as nothing is drawn.
            query: `logprob` chooses among `Request.choices`, which name classes.

        Returns: as `ResidentSubject.ask`.
        """
        talks = talks_of(requests, servings)
        said = self._said(list({id(t.request): t.request for t in talks}.values()), micro_batch)
        for talk in talks:
            talk.text = _shown(talk.request)
            self._answer(talk, said[id(talk.request)], query)
        return [*lacking(requests), *(talk.generation() for talk in talks)]

    def _said(
        self, requests: Sequence[Request], at_once: int
    ) -> dict[int, torch.Tensor | ThreatspecError]:
        """By request, log-probabilities of the classes, or why there are none."""
        seen = self._seen(requests)
        there = [pixels for pixels in seen if isinstance(pixels, torch.Tensor)]
        logits = iter(self._logits(torch.stack(there), at_once).log_softmax(-1) if there else ())
        return {
            id(request): next(logits) if isinstance(pixels, torch.Tensor) else pixels
            for request, pixels in zip(requests, seen, strict=True)
        }

    def _answer(self, talk: Talk, found: torch.Tensor | ThreatspecError, query: Query) -> None:
        if isinstance(found, ThreatspecError):
            talk.fault = f"{found.message} [{found.code}]"
            return
        scores = dict(zip(self.card.classes, found.tolist(), strict=True))
        choices = talk.request.choices if query == "logprob" else self.card.classes
        strange = [choice for choice in choices if choice not in scores]
        if strange or not choices:
            talk.fault = f"{strange[0] if strange else 'none'} of the choices is no class"
        elif not all(map(math.isfinite, scores.values())):
            talk.fault = _BROKEN
        else:
            talk.said = [max(choices, key=scores.__getitem__)]
            if query == "logprob":
                talk.scores = tuple(scores[choice] for choice in choices)

    def _seen(self, requests: Sequence[Request]) -> list[torch.Tensor | ThreatspecError]:
        """Each image as the model sees it, (channels, height, width), or why there is none."""
        return exact_pixels(self.processor, requests, self.folder, self.channels, self.card.image)

    def _logits(self, pixels: torch.Tensor, at_once: int) -> torch.Tensor:
        """(n, classes) on the CPU."""
        parts = list(self._parts(pixels, at_once)) if len(pixels) else []
        return torch.cat(parts) if parts else torch.empty(0, len(self.card.classes))

    def _parts(self, pixels: torch.Tensor, at_once: int) -> Iterator[torch.Tensor]:
        with torch.inference_mode():
            for part in torch.split(pixels, at_once):
                yield self.model(pixel_values=part.to(self.device)).logits.float().cpu()


def _shown(request: Request) -> str:
    """What was asked, as records have it: the image, and what was done to it."""
    done = [getattr(step, "kind", "") or type(step).__name__ for step in request.pixels]
    return f"[{' + '.join((request.image or 'no image', *done))}]"
