"""Safeguard `strip`: a trigger decides the class even where it is blended with other images.

Source: arXiv 1902.06531. An input is blended with clean images, one after another; the mean over
blends of the entropy of the class probabilities (in nats) is low where something in the input
decides the class by itself, as a trigger of a dense backdoor does.

Other than published: the threshold is an empirical quantile of held-out clean images, not that of
a normal distribution fitted to them, and a blend is a weighted mean, so that no pixel overflows.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from threatspec.safeguards._clean_split import clean_split, requests_of
from threatspec.safeguards._screening import ScoreScreen, correct, threshold_at
from threatspec.safeguards.base import (
    SAFEGUARDS,
    Answer,
    Ask,
    Fitted,
    Safeguard,
    SafeguardConfig,
    SafeguardContext,
    Stage,
)
from threatspec.schema import Count, SafeguardRole, Share
from threatspec.subjects import Offer, Request
from threatspec.subjects.images import image_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Blend", "Strip", "StripConfig", "mean_entropy"]


class StripConfig(SafeguardConfig):
    """Blends, and the rate of false alarms."""

    blends: Annotated[Count, Field(ge=1, le=1000)] = 20
    """Clean images that every input is blended with: so many passes an input."""
    weight: float = Field(default=0.5, gt=0, lt=1)
    """Share of the input in a blend."""
    fpr: Annotated[Share, Field(gt=0, lt=1)] = 0.01
    """Share of clean images that may be rejected; the threshold keeps to it on held-out ones."""
    held_out: float = Field(default=0.5, gt=0, lt=1)
    """Share of the clean images that only the threshold is set on; the others are blended in."""


@dataclass(frozen=True, slots=True)
class Blend:
    """An edit: the weighted mean with another image, which is brought to the same size."""

    other: NDArray[np.uint8]
    weight: float
    """Of the image that is edited."""

    def edit(self, image: NDArray[np.uint8], request: Request) -> NDArray[np.uint8]:
        """Rounded to bytes."""
        import numpy as np

        mixed = self.weight * image + (1 - self.weight) * _fitted(self.other, image.shape)
        found: NDArray[np.uint8] = np.rint(mixed).astype(np.uint8)
        return found


def _fitted(image: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """The nearest pixels, and as many channels: grey becomes colour, colour its first channel."""
    import numpy as np

    rows, columns = ((np.arange(shape[axis]) * image.shape[axis]) // shape[axis] for axis in (0, 1))
    found: NDArray[np.uint8] = image[rows[:, None], columns]
    if found.shape[2] != shape[2]:
        found = np.repeat(found[:, :, :1], shape[2], axis=2)
    return found


def mean_entropy(blends: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
    """Mean entropy in nats of each input's class probabilities over its blends.

    Args:
        blends: probabilities (inputs, classes), one array for each clean image.
    """
    import numpy as np

    found = np.zeros(len(blends[0]))
    for one in blends:
        p = one.astype(np.float64)
        found -= (p * np.log(np.where(p > 0, p, 1.0))).sum(axis=1)
    return found / len(blends)


class _Screen(ScoreScreen):
    def __init__(
        self, context: SafeguardContext, overlays: Sequence[Blend], threshold: float
    ) -> None:
        super().__init__(threshold)
        self._read_by, self._overlays = context.probabilities, overlays

    def scores(self, requests: Sequence[Request]) -> Sequence[float]:
        """The negative mean entropy."""
        found = [self._read_by(_with(requests, overlay), None) for overlay in self._overlays]
        read: list[float] = (-mean_entropy(found)).tolist()
        return read


def _with(requests: Sequence[Request], overlay: Blend) -> list[Request]:
    return [replace(one, pixels=(*one.pixels, overlay)) for one in requests]


class Strip(Safeguard):
    """Its threshold is set on what an attack has left; nothing is trained."""

    kind = "strip"
    says = "rejects inputs whose class stays certain when other images are blended in"
    source = "arXiv 1902.06531"
    stages = frozenset({Stage.REPAIR, Stage.SERVING})
    offers = frozenset({Offer.CLASSES})
    Config = StripConfig

    def roles(self, config: StripConfig) -> tuple[SafeguardRole, ...]:
        """The defender's clean labelled images."""
        return ("benign",)

    def repair(
        self, context: SafeguardContext, config: StripConfig
    ) -> Generator[Ask, Answer, Fitted]:
        """Set the threshold on held-out clean images; ask for nothing.

        Raises ThreatspecError TS-SAFEGUARD for clean rows that are no labelled images, are too few
        for two parts, or none of which is classified rightly.
        """
        held = clean_split(context, config.held_out).held_out
        asked = requests_of(held)
        right = correct(context.probabilities(asked, None), held, context.subject.classes)
        kept = [request for request, good in zip(asked, right, strict=True) if good]
        scores = _Screen(context, _overlays(context, config), 0.0).scores(kept) if kept else []
        return Fitted(provided=threshold_at(scores, config.fpr, context).plain)
        yield  # pragma: no cover - makes this a generator

    def serving_policy(
        self, context: SafeguardContext, config: StripConfig, provided: Mapping[str, Any]
    ) -> ScoreScreen:
        """Inputs above the threshold are not answered."""
        return _Screen(context, _overlays(context, config), provided["threshold"])


def _overlays(context: SafeguardContext, config: StripConfig) -> list[Blend]:
    """The first of the fitting part, which is in random order: the same for every input.

    With fewer images than `blends`, all of them, and a warning.
    """
    rows = clean_split(context, config.held_out).fitting
    if len(rows) < config.blends:
        text = f"TS-SAFEGUARD: strip blends with {config.blends} clean images, but has {len(rows)}"
        context.warn(f"{text} besides those of the threshold; it goes on with these")
    chosen = requests_of(rows[: config.blends])
    return [Blend(image_of(one, context.folder), config.weight) for one in chosen]


SAFEGUARDS.register(Strip.kind, Strip())
