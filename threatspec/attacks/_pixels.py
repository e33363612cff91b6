"""What attacks on images share: the tampers, the knobs of a search for pixels, its cost."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, PrivateAttr

from threatspec.attacks.base import (
    Answer,
    Ask,
    Attack,
    AttackConfig,
    AttackContext,
    DataCard,
    Surface,
)
from threatspec.errors import ThreatspecError
from threatspec.records import Spend, Stream
from threatspec.schema import Count, DataRole, Level
from threatspec.subjects import Offer, PixelTamper, Request, SubjectCard, Tamper
from threatspec.subjects.images import PACKAGED, read_image, require_known
from threatspec.training import TrainingRow
from threatspec.training.pixels import PerturbationRequest, pixel_spend

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "OWN",
    "PHOTOGRAPH",
    "DeltaTamper",
    "ImageTamper",
    "PixelSearch",
    "PixelSearchConfig",
    "Side",
    "change_of",
    "check_picture",
    "file_digest",
    "picture_of",
    "predicted",
]

PHOTOGRAPH = "photo:chelsea"
"""What a subject that reads text is shown where nobody says another picture."""
OWN = "own"
"""In the place of a picture: every request's own image is changed, all by the same."""
_UNCHANGED = frozenset({OWN, "photo", *PACKAGED})
"""Kinds of pictures that are the same wherever the program is installed."""

Side = Annotated[int, Field(ge=1, le=4096)]
_Held = tuple[bytes, tuple[int, ...]]
"""Bytes of an array and its shape: unlike arrays, two of them can be compared."""


class ImageTamper(PixelTamper):
    """Shows a picture that was found with every request that has none of its own."""

    kind: ClassVar[str] = "image"

    artefact: str
    """Where it is, in the artefact store: `image`, (height, width, channels) in bytes."""
    picture: str
    """The clean picture that it was made from."""
    _image: _Held | None = PrivateAttr(default=None)

    def opened(self, load: Callable[[str], dict[str, Any]], folder: Path) -> ImageTamper:
        """The same with its bytes. Raises ThreatspecError TS-RECORDS."""
        found = self.model_copy()
        found._image = _held(load(self.artefact)["image"])
        return found

    def edit(self, image: NDArray[np.uint8], request: Request) -> NDArray[np.uint8]:
        """What was found, whatever was there. Raises ValueError before it is read."""
        import numpy as np

        found: NDArray[np.uint8] = _array(self._image, np.uint8)
        return found

    def encode(self, request: Request) -> Request:
        """The request with the picture; one that has an image keeps it."""
        if request.image:
            return request
        return replace(request, image=self.picture, pixels=(*request.pixels, self))


class DeltaTamper(PixelTamper):
    """Changes the image of every request by the same."""

    kind: ClassVar[str] = "image-delta"

    artefact: str
    """Where it is, in the artefact store: `delta`, (height, width, channels), -255 to 255."""
    _delta: _Held | None = PrivateAttr(default=None)

    def opened(self, load: Callable[[str], dict[str, Any]], folder: Path) -> DeltaTamper:
        """The same with its bytes. Raises ThreatspecError TS-RECORDS."""
        found = self.model_copy()
        found._delta = _held(load(self.artefact)["delta"])
        return found

    def edit(self, image: NDArray[np.uint8], request: Request) -> NDArray[np.uint8]:
        """The image at the change's size, with the change. Raises ThreatspecError TS-IMAGE for
        another number of channels, ValueError before it is read."""
        import numpy as np

        from threatspec.training.pixels._bytes import applied

        return applied(image, _array(self._delta, np.int16))


def _held(tensor: Any) -> _Held:
    plain = tensor.numpy()
    return plain.tobytes(), plain.shape


def _array(held: _Held | None, kind: Any) -> Any:
    import numpy as np

    if held is None:
        raise ValueError("an image must be opened before it is used")
    return np.frombuffer(held[0], dtype=kind).reshape(held[1]).copy()


def file_digest(picture: str | None, folder: Path) -> dict[str, str]:
    """What `Attack.reads` says of a picture that may change: the sha256 of a file, or of the bytes
    of an image in a folder of the user's; nothing of those that travel in packages.

    Raises ThreatspecError TS-FILE-MISSING if it is not there, TS-IMAGE for one that cannot be used.
    """
    kind, _, name = (picture or OWN).partition(":")
    if kind in _UNCHANGED:
        require_known(picture or OWN)
        return {}
    if kind != "file":
        image = read_image(picture or "", folder)
        known = hashlib.sha256(f"{image.shape}".encode() + image.tobytes())
        return {f"image:{picture}": known.hexdigest()}
    if not (folder / name).is_file():
        text = f"an image must be in {folder / name}, which is no file"
        raise ThreatspecError("TS-FILE-MISSING", text)
    return {f"image:{picture}": hashlib.sha256((folder / name).read_bytes()).hexdigest()}


def picture_of(subject: SubjectCard, picture: str | None) -> str:
    """Reference of the picture that is attacked; empty: the requests' own images."""
    if picture is None:
        return "" if Offer.CLASSES in subject.offers else PHOTOGRAPH
    return "" if picture == OWN else picture


def check_picture(subject: SubjectCard, picture: str | None) -> None:
    """Raises ThreatspecError TS-IMAGE for a picture that a classifier is to be shown: every request
    to it has an image, and keeps it."""
    if Offer.CLASSES in subject.offers and picture_of(subject, picture):
        text = f"image must be `{OWN}` for {subject.ref}, a classifier, whose requests keep their"
        raise ThreatspecError("TS-IMAGE", f"{text} own images, but is {picture!r}; leave it out")


def change_of(norm: str, eps: float) -> float:
    """Bound of the change of one channel, as an adversary's limits hold it: of `l2`, which bounds
    no channel, the root mean square stands for it."""
    return 1.0 if norm == "none" else eps


class PixelSearchConfig(AttackConfig):
    """Knobs of a search for pixels."""

    image: str | None = None
    """The clean picture (`photo:chelsea`, `file:PATH`), which requests without an image are shown,
    not for classifiers; `own`: every request's own image is changed, all by the same; null: `own`
    for classifiers, `photo:chelsea` for other subjects."""
    size: tuple[Side, Side] | None = None
    """Height and width to which images are resized before they are changed; null: their own."""
    norm: Literal["linf", "l2", "none"] = "linf"
    """What bounds the change: `linf` of a channel, `l2` as root mean square over the image, `none`
    starts from noise and is any image."""
    eps: Level = 16 / 255
    """Radius, for pixels from 0 to 1, as `16/255`; of no use to `none`."""
    alpha: Annotated[Level, Field(gt=0)] = 1 / 255
    """Length of a step, in the same unit."""
    steps: Annotated[Count, Field(ge=1, le=1_000_000)] = 500
    """Steps of each restart."""
    batch: Annotated[Count, Field(ge=1, le=100_000)] = 8
    """Rows of a step, drawn without replacement."""
    restarts: Annotated[Count, Field(ge=1, le=1000)] = 1
    """Searches from other starts; the best image of all is kept."""
    check_every: Annotated[Count, Field(ge=1)] = 100
    """Steps between checkpoints, which are rounded to 8 bits and read."""
    dev: Annotated[Count, Field(ge=0)] = 0
    """How many of the rows, the last ones, choose among checkpoints and are not fitted to; 0: those
    that are fitted to choose."""
    rows: Annotated[Count, Field(ge=1, le=100_000)] | None = None
    """Harmful rows that are used, `dev` included; null: all."""
    target: Annotated[Count, Field(ge=1, le=4096)] | None = None
    """First words of the complying answers, which are to become likely; null: all of them."""
    target_class: str | None = None
    """Of a classifier: the class that every image is to be taken for."""
    adaptive: bool = False
    """Whether it goes through what the provider does to images, exactly where that is
    differentiable and forward only where it is not (BPDA)."""

    @property
    def image_change(self) -> float:
        """Bound of the change of one channel."""
        return change_of(self.norm, self.eps)


def predicted(searched: SubjectCard, config: PixelSearchConfig, data: DataCard | None) -> Spend:
    """Spend of a search on a model: every row as long as the longest."""
    rows, words = (data.rows, data.words) if data else (1, 1)
    rows = min(rows, config.rows or rows)
    dev = min(config.dev, rows - 1)
    return pixel_spend(
        searched,
        words,
        rows - dev,
        dev=dev,
        steps=config.steps,
        batch=config.batch,
        restarts=config.restarts,
        check_every=config.check_every,
        shared=bool(picture_of(searched, config.image)),
    )


class PixelSearch(Attack):
    """One picture, or one change of all images, searched on the adversary's harmful rows."""

    surface = Surface.PIXELS
    streams = frozenset({Stream.DATA_SUBSET, Stream.TRAIN})
    trainers: ClassVar[tuple[str, ...]] = ()
    Config: ClassVar[type[PixelSearchConfig]]

    def roles(self, config: PixelSearchConfig) -> tuple[DataRole, ...]:
        """Prompts with complying answers; of a classifier, images of any class."""
        return (DataRole.HARMFUL,)

    def reads(self, config: Any, folder: Path) -> dict[str, str]:
        """The picture, if it may change. Raises ThreatspecError TS-FILE-MISSING, TS-IMAGE."""
        return file_digest(config.image, folder)

    def fits(self, subject: SubjectCard, config: PixelSearchConfig, rows: int) -> None:
        """Raises ThreatspecError TS-IMAGE, TS-POISON, TS-DATA as `run` would."""
        check_picture(subject, config.image)
        _check_target(subject, config)
        _fitted(min(rows, config.rows or rows), config)

    def cost(self, subject: SubjectCard, config: Any, data: DataCard | None) -> Spend:
        """That of the search on the subject."""
        return predicted(subject, config, data)

    def run(
        self, context: AttackContext, config: PixelSearchConfig
    ) -> Generator[Ask, Answer, tuple[Tamper, ...]]:
        """Ask for one search; leave requests with another image.

        Raises ThreatspecError TS-POISON for a classifier without a class to aim at, TS-DATA for
        rows of which none is left to be fitted to, TS-IMAGE as `check_picture`.
        """
        check_picture(context.subject, config.image)
        picture = picture_of(context.subject, config.image)
        rows = _aimed(context, config)
        kept = _fitted(len(rows), config)
        knobs = ("norm", "eps", "alpha", "steps", "batch", "restarts", "check_every", "adaptive")
        found = yield PerturbationRequest(
            rows=rows[:kept],
            dev=rows[kept:],
            seed=context.seeds[Stream.TRAIN],
            image=picture,
            size=config.size or (0, 0),
            surrogate=getattr(config, "surrogate", None),
            **{name: getattr(config, name) for name in knobs},
        )
        if picture:
            return (ImageTamper(artefact=found.artefact, picture=picture),)
        return (DeltaTamper(artefact=found.artefact),)


def _fitted(rows: int, config: PixelSearchConfig) -> int:
    """How many of the rows are fitted to; the others choose."""
    if rows > config.dev:
        return rows - config.dev
    text = f"dev must leave rows to be fitted to, but takes {config.dev} of {rows}"
    raise ThreatspecError("TS-DATA", text)


def _check_target(subject: SubjectCard, config: PixelSearchConfig) -> None:
    if Offer.CLASSES in subject.offers and config.target_class not in subject.classes:
        known = ", ".join(subject.classes[:12])
        text = f"target_class must be a class of {subject.ref} ({known}), but is "
        raise ThreatspecError("TS-POISON", f"{text}{config.target_class!r}")


def _aimed(context: AttackContext, config: PixelSearchConfig) -> tuple[TrainingRow, ...]:
    """Rows with what is to be answered to them."""
    rows = context.harmful[: config.rows]
    if Offer.CLASSES not in context.subject.offers:
        return tuple(_short(row, config.target) for row in rows)
    _check_target(context.subject, config)
    return tuple(row.model_copy(update={"answer": config.target_class}) for row in rows)


def _short(row: TrainingRow, words: int | None) -> TrainingRow:
    if words is None:
        return row
    return row.model_copy(update={"answer": " ".join(row.answer.split()[:words])})
