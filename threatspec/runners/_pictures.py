"""Pictures of the images that a trial shows: a few, small, for people to look at."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from threatspec.errors import ThreatspecError
from threatspec.records import MOST_SIDE, Picture, PictureStage, Trial, png_bytes
from threatspec.subjects import Request

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["pictures_of"]

_MOST = 3
"""Requests of a trial whose images are kept."""
_TRIED = 12
"""Requests that are looked at to find so many that differ."""


def pictures_of(
    trial: Trial,
    asked: Sequence[Request],
    attacked: Sequence[Request],
    receive: Callable[[Sequence[Request]], Sequence[Request]],
    folder: Path,
) -> tuple[Picture, ...]:
    """What the first requests of a trial show; nothing of its later looks.

    An image that cannot be used is left out: the row that lacks its reply says why.

    Args:
        asked: requests of the benchmark, before anybody did anything to them.
        attacked: the same, as the attack left them.
        receive: what the provider makes of requests before anything else.
        folder: where relative files of the spec are looked for.
    """
    if trial.work["units"][0] or not any(request.image for request in attacked[:_TRIED]):
        return ()
    received = receive(attacked[:_TRIED])
    found: dict[tuple[str, ...], tuple[Picture, ...]] = {}
    for was, sent, came in zip(asked[:_TRIED], attacked[:_TRIED], received, strict=True):
        with suppress(ThreatspecError):
            shown = tuple(_sent(was, sent, folder))
            key = tuple(picture.png for picture in shown)
            if shown and key not in found:
                found[key] = shown
                found[key] += tuple(_received(was, sent, came, folder))
        if len(found) == _MOST:
            break
    return tuple(picture for shown in found.values() for picture in shown)


def _sent(asked: Request, attacked: Request, folder: Path) -> Iterator[Picture]:
    from threatspec.subjects.images import image_of

    if not attacked.image:
        return
    image = image_of(attacked, folder)
    first, clean = _clean(asked, attacked, image, folder)
    yield _picture(asked, first, PictureStage.CLEAN, clean, clean)
    if attacked.pixels or attacked.image != first:
        yield _picture(asked, attacked.image, PictureStage.ATTACKED, image, clean)


def _received(
    asked: Request, attacked: Request, received: Request, folder: Path
) -> Iterator[Picture]:
    """Looked at last, and once for images that are alike: a purifier may take long."""
    from threatspec.subjects.images import image_of

    if received.pixels == attacked.pixels and received.image == attacked.image:
        return
    _, clean = _clean(asked, attacked, image_of(attacked, folder), folder)
    image = image_of(received, folder)
    yield _picture(asked, received.image, PictureStage.RECEIVED, image, clean)


def _clean(
    asked: Request, attacked: Request, image: NDArray[np.uint8], folder: Path
) -> tuple[str, NDArray[np.uint8]]:
    """Reference and content of what it was before: of an image that is wholly the attacker's, the
    picture that it was made from. It has the size to which a search resizes it."""
    from threatspec.subjects.images import read_image
    from threatspec.training.pixels._bytes import fitted

    first = asked.image or attacked.image
    return first, fitted(read_image(first, folder), image.shape[:2])


def _picture(
    request: Request,
    ref: str,
    stage: PictureStage,
    image: NDArray[np.uint8],
    clean: NDArray[np.uint8],
) -> Picture:
    height, width, _ = image.shape
    small = _small(image)
    png = png_bytes(small.tobytes(), *small.shape)
    return Picture(
        item=request.item,
        stage=stage,
        image=ref,
        height=height,
        width=width,
        change=None if stage is PictureStage.CLEAN else _change(image, clean),
        png=base64.b64encode(png).decode(),
    )


def _change(image: NDArray[np.uint8], clean: NDArray[np.uint8]) -> int | None:
    """Largest difference of a channel; None where images cannot be laid upon one another."""
    if image.shape[:2] != clean.shape[:2]:
        return None
    return int(abs(image.astype(int) - clean.astype(int)).max())


def _small(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """At most `MOST_SIDE` pixels a side: means of blocks, whole ones only."""
    import numpy as np

    height, width, channels = image.shape
    block = -(-max(height, width) // MOST_SIDE)
    if block == 1:
        return image
    rows, columns = max(1, height // block), max(1, width // block)
    step_y, step_x = min(block, height), min(block, width)
    kept = image[: rows * step_y, : columns * step_x].astype(np.float32)
    blocks = kept.reshape(rows, step_y, columns, step_x, channels)
    means: NDArray[np.uint8] = np.rint(blocks.mean(axis=(1, 3))).astype(np.uint8)
    return means
