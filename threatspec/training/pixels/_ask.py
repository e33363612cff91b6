"""The request for an image, or a change of images, that makes a subject answer as wanted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from threatspec.records import Optimised
from threatspec.schema import Model
from threatspec.training._job import TrainingRow

__all__ = ["PerturbationRequest", "Perturbed"]


class PerturbationRequest(Model):
    """One image for all rows (`image` is given), or one change of every row's own image.

    The loss is the mean over rows of -log p(answer | row's prompt, image): of a vision-language
    model per token of the answer, of a classifier of the class that the answer names.

    Source: arXiv 2306.13213, section 3 (universal over a corpus of target texts).
    """

    rows: tuple[TrainingRow, ...]
    """Prompts (perhaps empty) with what is to be answered; of a classifier, images with the class
    that they are to be taken for."""
    dev: tuple[TrainingRow, ...] = ()
    """Rows by which checkpoints and restarts are chosen; none: by the rows themselves."""
    seed: int
    image: str = ""
    """Reference of the image that is attacked; empty: the images of the rows."""
    size: tuple[int, int] = (0, 0)
    """Height and width of the attacked image, to which `image` is resized; (0, 0): its own."""
    norm: Literal["linf", "l2", "none"] = "linf"
    """Ball around the image; `none`: any image at all, from noise."""
    eps: float = Field(ge=0, le=1)
    """Radius: of `linf` per channel of a pixel, of `l2` as the root of the mean square over the
    whole image; pixels go from 0 to 1."""
    alpha: float = Field(gt=0, le=1)
    """Step: every channel moves by so much against the sign of the gradient (`linf`, `none`), or
    the image by so much in root mean square (`l2`)."""
    steps: int = Field(ge=0)
    batch: int = Field(default=8, ge=1)
    """Rows of a step, drawn without replacement."""
    restarts: int = Field(default=1, ge=1)
    check_every: int = Field(default=100, ge=1)
    """Steps between checkpoints: each is rounded to 8 bits and read on `dev`."""
    adaptive: bool = False
    """Whether the search goes through what the provider does to images: exactly where that is
    differentiable, else forward as it is and backward as if it were nothing (BPDA)."""
    surrogate: str | None = None
    """Model that it is searched on in place of the subject."""


@dataclass(frozen=True, slots=True)
class Perturbed:
    """What was found."""

    artefact: str
    """Tensors: `image` (uint8, height x width x channels), or `delta` (int16, the same shape)."""
    optimised: Optimised
    warnings: tuple[str, ...] = ()
    """What weakens it, each with a code in front: for example a processor that crops a part away.
    """
