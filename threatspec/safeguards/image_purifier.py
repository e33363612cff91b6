"""Safeguard `image-purifier`: images are cleaned of what an attacker may have put into them.

Sources: arXiv 1704.01155 (bit depth and smoothing), arXiv 1608.00853 (JPEG), arXiv 2205.07460
(diffusion); the denoiser is of this project. What a purifier does to a clean image it does
untouched too, so an attack is judged against the purified clean image.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from threatspec.errors import ThreatspecError
from threatspec.records import Spend, Stream
from threatspec.safeguards._purifiers._made import made
from threatspec.safeguards._purifiers._pipeline import pipeline_digest
from threatspec.safeguards.base import (
    SAFEGUARDS,
    Answer,
    Ask,
    Fitted,
    Safeguard,
    SafeguardConfig,
    SafeguardContext,
    Stage,
    require_rows,
)
from threatspec.schema import Count, Level, SafeguardRole
from threatspec.subjects import Offer, PixelEdit, Request, ServingPolicy, SubjectCard
from threatspec.training import TrainingRow
from threatspec.training.denoisers import DenoiserJob, denoiser_spend

__all__ = ["ImagePurifier", "ImagePurifierConfig"]

_KNOBS: dict[str, tuple[str, ...]] = {
    "blur": ("sigma",),
    "mean": ("kernel",),
    "median": ("kernel",),
    "jpeg": ("quality",),
    "bit-depth": ("bits",),
    "denoiser": ("noise", "lr", "steps", "batch_size", "patch", "width", "depth"),
    "diffusion": ("model", "forward_steps"),
}
"""What each method reads."""


class ImagePurifierConfig(SafeguardConfig):
    """The method, and its strength; a knob that the method does not read is refused."""

    method: Literal["blur", "mean", "median", "jpeg", "bit-depth", "denoiser", "diffusion"]
    """`blur` by a normal distribution, `mean` and `median` of a square, `jpeg` compression,
    `bit-depth` (fewer levels), a small `denoiser` that is trained here on benign rows, or
    `diffusion` by a model of the user's."""
    sigma: float = Field(default=1.0, gt=0, le=100)
    """Of `blur`: standard deviation in pixels."""
    kernel: Annotated[Count, Field(ge=1, le=99)] = 3
    """Of `mean` and `median`: side of the square in pixels, odd."""
    quality: Annotated[Count, Field(ge=1, le=100)] = 75
    """Of `jpeg`."""
    bits: Annotated[Count, Field(ge=1, le=8)] = 3
    """Of `bit-depth`: bits per channel; 8 changes nothing."""
    noise: Annotated[Level, Field(gt=0)] = 64 / 255
    """Of `denoiser`: standard deviation of the strongest noise that it is trained to take out."""
    lr: float = Field(default=2e-3, gt=0, le=1)
    """Of `denoiser`: learning rate of Adam, constant."""
    steps: Annotated[Count, Field(ge=1, le=1_000_000)] = 400
    """Of `denoiser`: training steps."""
    batch_size: Annotated[Count, Field(ge=1, le=65_536)] = 32
    """Of `denoiser`: crops of a step."""
    patch: Annotated[Count, Field(ge=1, le=4096)] = 32
    """Of `denoiser`: side of a crop in pixels; smaller where an image is, or what the subject
    sees."""
    width: Annotated[Count, Field(ge=1, le=1024)] = 16
    """Of `denoiser`: channels between its convolutions."""
    depth: Annotated[Count, Field(ge=2, le=64)] = 4
    """Of `denoiser`: convolutions."""
    model: str = ""
    """Of `diffusion`: folder of an unconditional pipeline of diffusers, relative to the spec."""
    forward_steps: Annotated[Count, Field(ge=1, le=100_000)] = 100
    """Of `diffusion`: steps of noise that are added, and taken out again."""

    @model_validator(mode="after")
    def _only_its_own(self) -> Self:
        fields, own = type(self).model_fields, _KNOBS[self.method]
        for name in dict.fromkeys(knob for knobs in _KNOBS.values() for knob in knobs):
            if name not in own and getattr(self, name) != fields[name].default:
                raise ValueError(f"{self.method} has no {name}; leave it out")
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, but is {self.kernel}")
        if self.method == "diffusion" and not self.model:
            raise ValueError("diffusion must have a model: the folder of a pipeline of diffusers")
        return self


class _Purified(ServingPolicy):
    def __init__(self, edit: PixelEdit) -> None:
        self._edit = edit

    def receive(self, requests: Sequence[Request]) -> Sequence[Request]:
        return [replace(r, pixels=(*r.pixels, self._edit)) if r.image else r for r in requests]


class ImagePurifier(Safeguard):
    """Acts when the provider answers, on whatever image it is sent."""

    kind = "image-purifier"
    says = "cleans every image by blur, compression, fewer levels, a denoiser or diffusion"
    source = "arXiv 1704.01155, arXiv 1608.00853, arXiv 2205.07460"
    stages = frozenset({Stage.SERVING})
    offers: ClassVar[frozenset[Offer]] = frozenset({Offer.IMAGE})
    Config = ImagePurifierConfig

    def roles(self, config: ImagePurifierConfig) -> tuple[SafeguardRole, ...]:
        """Clean images, if there is something to train."""
        return ("benign",) if config.method == "denoiser" else ()

    def reads(self, config: ImagePurifierConfig, folder: Path) -> dict[str, str]:
        """Digest of a diffusion model.

        Raises ThreatspecError TS-MISSING-EXTRA without the package, TS-FILE-MISSING for a folder
        that is no pipeline.
        """
        if config.method != "diffusion":
            return {}
        return {"model": pipeline_digest(folder / config.model)}

    def cost(
        self, subject: SubjectCard, config: ImagePurifierConfig, rows: int, words: int
    ) -> Spend:
        """Of training a denoiser on images that are at least as large as its crops; less for
        smaller ones."""
        if config.method != "denoiser":
            return Spend()
        job = _job(config, subject, (TrainingRow(id="any", prompt="", answer=""),), {})
        return denoiser_spend(job, job.patch, config.steps)

    def fit(
        self, context: SafeguardContext, config: ImagePurifierConfig
    ) -> Generator[Ask, Answer, Fitted]:
        """Ask for a denoiser, if that is the method.

        Raises ThreatspecError TS-SAFEGUARD without benign rows, or for one without an image.
        """
        if config.method != "denoiser":
            return Fitted()
        require_rows(context, "benign")
        bare = [row.id for row in context.benign if not row.image]
        if bare:
            text = f"a denoiser must be trained on rows with an image, but {bare[0]} has none"
            raise ThreatspecError("TS-SAFEGUARD", text)
        found = yield _job(config, context.subject, tuple(context.benign), context.seeds)
        if not found.after < found.before:  # what is no number is no success either
            text = f"TS-SAFEGUARD: the denoiser leaves a mean squared error of {found.after:.2g} "
            context.warn(f"{text}where noise alone is {found.before:.2g}; give it more steps")
        return Fitted(provided={"artefact": found.artefact})

    def serving_policy(
        self, context: SafeguardContext, config: ImagePurifierConfig, provided: Mapping[str, Any]
    ) -> ServingPolicy:
        """Every image is purified after all that was done to it."""
        return _Purified(made(context, config, provided))


def _job(
    config: ImagePurifierConfig,
    subject: SubjectCard,
    rows: tuple[TrainingRow, ...],
    seeds: Mapping[Stream, int],
) -> DenoiserJob:
    """Crops are no larger than what the subject sees, so that the plan and the training agree."""
    knobs = {name: getattr(config, name) for name in _KNOBS["denoiser"]}
    knobs["patch"] = min(config.patch, min(subject.image) or config.patch)
    return DenoiserJob(rows=rows, seeds=dict(seeds), **knobs)


SAFEGUARDS.register(ImagePurifier.kind, ImagePurifier())
