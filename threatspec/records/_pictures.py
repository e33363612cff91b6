"""Pictures: what a person sees of the images that a subject was shown."""

from __future__ import annotations

import base64
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field

from threatspec.records._png import png_read
from threatspec.schema import Model

__all__ = ["Picture", "PictureStage"]


class PictureStage(StrEnum):
    """Where on its way to the subject an image is."""

    CLEAN = "clean"
    """Before anybody did anything to it."""
    ATTACKED = "attacked"
    """As the attack left it."""
    RECEIVED = "received"
    """As the subject's provider left it, where that did anything to it."""


def _png(text: str) -> str:
    png_read(base64.b64decode(text, validate=True))
    return text


class Picture(Model):
    """One image, small enough to be kept and looked at."""

    item: str
    """Prompt that it was shown with."""
    stage: PictureStage
    image: str
    """Reference of the image that it began as."""
    height: int = Field(ge=1)
    """Of the image itself, in pixels; the picture may be smaller."""
    width: int = Field(ge=1)
    change: int | None = Field(default=None, ge=0, le=255)
    """Largest difference of a channel of a pixel from the clean image, in 1/255; None: it is the
    clean one, or has another size."""
    png: Annotated[str, Field(max_length=400_000), AfterValidator(_png)]
    """The file, in base64."""

    @property
    def own(self) -> bool:
        """Whether it shows a file of whoever ran the campaign, not data that anybody can have."""
        return self.image.partition(":")[0] not in _PUBLIC


_PUBLIC = frozenset({"digits", "mnist5k", "photo"})
"""Kinds of references to images that travel in packages."""
