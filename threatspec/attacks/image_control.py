"""Attack `image-control`: a picture with noise of a perturbation's budget, or the clean picture.

The controls of `image-perturbation`: they look at no model. `clean` shows what a picture alone
does, `sign` and `gaussian` what a change of the same size does that nobody has searched for. A
purifier is to be held against the noise: noise alone moves a model.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator

from threatspec.attacks._pixels import (
    PHOTOGRAPH,
    Side,
    change_of,
    check_picture,
    file_digest,
    picture_of,
)
from threatspec.attacks.base import (
    ATTACKS,
    Answer,
    Ask,
    AttackConfig,
    AttackContext,
    PromptAttack,
    Surface,
)
from threatspec.records import Stream
from threatspec.schema import Capability, Level
from threatspec.subjects import Offer, PixelTamper, Request, SubjectCard, Tamper

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["ControlTamper", "ImageControl", "ImageControlConfig"]

Kind = Literal["clean", "sign", "gaussian"]


def _as_tuple(value: Any) -> Any:
    """Records have lists."""
    return tuple(value) if isinstance(value, list) else value


class ImageControlConfig(AttackConfig):
    """What is shown."""

    noise: Kind = "clean"
    """`clean`: none; `sign`: every channel moves by `eps` up or down; `gaussian`: by a normal
    number with a standard deviation of `eps`, projected into the ball."""
    image: str | None = None
    """The picture, as in `image-perturbation`: `own`, or null for `own` of classifiers and
    `photo:chelsea` of other subjects."""
    size: tuple[Side, Side] | None = None
    """Height and width to which images are resized first; null: their own."""
    norm: Literal["linf", "l2"] = "linf"
    """What bounds the change, as in `image-perturbation`."""
    eps: Level = 16 / 255
    """Radius, for pixels from 0 to 1; of no use to `clean`."""

    @property
    def image_change(self) -> float:
        """Bound of the change of one channel."""
        return 0.0 if self.noise == "clean" else change_of(self.norm, self.eps)


class ControlTamper(PixelTamper):
    """Puts noise on every image, the same on all of one size, drawn by a seed."""

    kind: ClassVar[str] = "image-control"

    noise: Kind
    norm: Literal["linf", "l2"]
    eps: float
    seed: int
    picture: str = ""
    """Shown with requests that have no image; empty: those stay without."""
    size: Annotated[tuple[int, int] | None, BeforeValidator(_as_tuple)] = None

    def edit(self, image: NDArray[np.uint8], request: Request) -> NDArray[np.uint8]:
        """The image, resized and with noise. Raises ThreatspecError TS-MISSING-EXTRA."""
        from threatspec.training.pixels._bytes import applied, control, fitted

        image = fitted(image, self.size or (0, 0))
        height, width, channels = image.shape
        shape = (height, width, channels)
        return applied(image, control(shape, self.noise, self.norm, self.eps, self.seed))

    def encode(self, request: Request) -> Request:
        """The request with noise on its image; one that has none is shown the picture, and beside
        a picture an image of a request's own stays as it is."""
        if not self.picture:
            return super().encode(request)
        if request.image:
            return request
        return replace(request, image=self.picture, pixels=(*request.pixels, self))


class ImageControl(PromptAttack):
    """Noise is drawn by the seed of a replicate; the clean picture is always the same."""

    kind = "image-control"
    says = "shows a clean picture, or one with noise of a perturbation's size"
    needs = (frozenset({Capability.IMAGE}),)
    surface = Surface.PIXELS
    streams: ClassVar[frozenset[Stream]] = frozenset({Stream.TRAIN})
    offers = frozenset({Offer.IMAGE})
    Config = ImageControlConfig

    def streams_of(self, config: ImageControlConfig) -> frozenset[Stream]:
        """None for the clean picture."""
        return frozenset() if config.noise == "clean" else self.streams

    def fits(self, subject: SubjectCard, config: ImageControlConfig, rows: int) -> None:
        """Raises ThreatspecError TS-IMAGE for a picture that a classifier would not be shown."""
        check_picture(subject, config.image)

    def reads(self, config: ImageControlConfig, folder: Path) -> dict[str, str]:
        """The picture, if it is a file. Raises ThreatspecError TS-FILE-MISSING."""
        return file_digest(config.image, folder)

    def tamper(self, config: ImageControlConfig, reads: Mapping[str, str]) -> ControlTamper:
        """Requests with the picture of a subject that reads text, and noise of seed 0."""
        return self._made(config, PHOTOGRAPH if config.image is None else config.image, 0)

    def run(
        self, context: AttackContext, config: Any
    ) -> Generator[Ask, Answer, tuple[Tamper, ...]]:
        """Ask for nothing; leave the tamper."""
        check_picture(context.subject, config.image)
        picture = picture_of(context.subject, config.image)
        return (self._made(config, picture, context.seeds.get(Stream.TRAIN, 0)),)
        yield  # pragma: no cover - makes this a generator

    def _made(self, config: ImageControlConfig, picture: str, seed: int) -> ControlTamper:
        return ControlTamper(
            noise=config.noise,
            norm=config.norm,
            eps=config.eps,
            seed=0 if config.noise == "clean" else seed,
            picture=picture,
            size=config.size,
        )


ATTACKS.register(ImageControl.kind, ImageControl())
