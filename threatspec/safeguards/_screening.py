"""Screens by a score: read off class probabilities, with a threshold set on held-out clean images.

A score is higher the more an input looks backdoored; what is above the threshold is rejected.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from threatspec.errors import ThreatspecError
from threatspec.safeguards._clean_split import requests_of
from threatspec.safeguards.base import SafeguardContext
from threatspec.subjects import Request, ServingPolicy
from threatspec.training import TrainingRow

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["ScoreScreen", "Threshold", "accuracy", "correct", "threshold_at", "threshold_of"]


@dataclass(frozen=True, slots=True)
class Threshold:
    """Where a screen rejects, and what is known of it from clean images alone."""

    value: float
    images: int
    """Held-out clean images that it was set on: those that the subject classifies rightly."""
    rejected: int
    """Of these, how many are above it."""

    @property
    def plain(self) -> dict[str, Any]:
        """As it is recorded; the rate is that of the held-out images."""
        rate = self.rejected / self.images
        return {"threshold": self.value, "held_out": self.images, "held_out_fpr": rate}


def threshold_at(scores: Sequence[float], fpr: float, context: SafeguardContext) -> Threshold:
    """The lowest score of which at most the share `fpr` of clean `scores` is above.

    A new clean image is above it with probability (k + 1) / (n + 1) at most, where k is the whole
    part of n `fpr`: images are as likely to come in any order of their scores. Fewer than 1 / `fpr`
    images (k = 0) cannot show the rate; the threshold is then their maximum, with a warning.

    Raises ThreatspecError TS-SAFEGUARD for no scores, or scores that are not numbers.
    """
    count = _count(scores)
    most = math.floor(fpr * count + 1e-9)
    if not most:
        text = f"TS-SAFEGUARD: {count} held-out clean images cannot show a false positive rate of "
        text += f"{fpr:g}, which takes {math.ceil(1 / fpr)}; the threshold is their maximum, which "
        context.warn(f"{text}a new clean image exceeds with probability {1 / (count + 1):.3g}")
    return threshold_of(scores, sorted(scores, reverse=True)[most])


def threshold_of(scores: Sequence[float], value: float) -> Threshold:
    """A threshold that is given, and what clean `scores` say of it. Raises as `threshold_at`."""
    return Threshold(value, _count(scores), sum(score > value for score in scores))


def _count(scores: Sequence[float]) -> int:
    if not scores or any(math.isnan(score) for score in scores):
        text = "a threshold must be set on held-out clean images that the subject classifies "
        got = "their scores are not numbers" if scores else "there is none"
        raise ThreatspecError("TS-SAFEGUARD", f"{text}rightly, but {got}")
    return len(scores)


def correct(found: NDArray[np.float32], rows: Sequence[TrainingRow], classes: Any) -> list[bool]:
    """Whether the most probable class of each row is its own; never where one is not a number.

    Args:
        found: probabilities (rows, classes).
    """
    best = found.argmax(axis=1) if len(found) else ()
    return [
        bool(classes[place] == row.answer and not math.isnan(line[place]))
        for place, line, row in zip(best, found, rows, strict=True)
    ]


def accuracy(context: SafeguardContext, rows: Sequence[TrainingRow], artefact: str | None) -> float:
    """Share of rows that are classified rightly, by the subject or with other weights over it."""
    found = context.probabilities(requests_of(rows), artefact)
    return sum(correct(found, rows, context.subject.classes)) / len(rows)


class ScoreScreen(ServingPolicy):
    """Rejects requests whose score is above a threshold.

    What cannot be read as an image passes: it gets no answer from the subject either. A score that
    is not a number does not pass.
    """

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold

    @abstractmethod
    def scores(self, requests: Sequence[Request]) -> Sequence[float]:
        """Higher for inputs that look backdoored. Raises ThreatspecError TS-IMAGE."""

    def screen(self, requests: Sequence[Request]) -> Sequence[bool]:
        """Whether each request passes."""
        shown = [request for request in requests if request.image and not request.lacking]
        scores = dict(zip((id(one) for one in shown), self._read(shown), strict=True))
        return [scores.get(id(one), -math.inf) <= self.threshold for one in requests]

    def _read(self, requests: Sequence[Request]) -> list[float]:
        """All at once; one by one only where some image cannot be read."""
        if not requests:
            return []
        try:
            return list(self.scores(requests))
        except ThreatspecError as error:
            if error.code != "TS-IMAGE":
                raise
            if len(requests) == 1:
                return [-math.inf]
        half = len(requests) // 2
        return [*self._read(requests[:half]), *self._read(requests[half:])]
