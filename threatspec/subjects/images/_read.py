"""From a reference to bytes: what stands before the colon says where an image is.

`digits:N` and `mnist5k:N` are of data sets that travel in packages, `photo:NAME` is a photograph of
scikit-image, `file:PATH` a PNG, JPEG, BMP or WebP file of the user's, relative to the spec.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from threatspec.errors import ThreatspecError, did_you_mean
from threatspec.subjects._request import Request
from threatspec.subjects.images._sources import PACKAGED, PHOTOGRAPHS, package_file

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["image_of", "read_image"]


def image_of(request: Request, folder: Path = Path()) -> NDArray[np.uint8]:
    """The image of a request after everything that is done to it: (height, width, channels).

    Raises ThreatspecError TS-IMAGE for one that is not there, cannot be used, or that an edit has
    left as something else than bytes.
    """
    image = read_image(request.image, folder)
    for step in request.pixels:
        image = _checked(step.edit(image, request), type(step).__name__)
    return image


def read_image(ref: str, folder: Path = Path()) -> NDArray[np.uint8]:
    """The image that `ref` means, as bytes: (height, width, 1 or 3).

    Raises ThreatspecError TS-IMAGE for one that is not there or cannot be used, TS-MISSING-EXTRA
    for a package that is not installed.
    """
    kind, colon, name = ref.partition(":")
    if kind in PACKAGED and colon:
        return _packaged(kind, name)
    if kind == "photo" and name in PHOTOGRAPHS:
        return _opened(package_file("skimage", "scikit-image", f"data/{name}.png"), ref)
    if kind == "file" and name:
        return _opened(folder / name, ref)
    known = [f"photo:{one}" for one in PHOTOGRAPHS]
    text = "an image must be digits:N, mnist5k:N, photo:NAME or file:PATH, but got"
    raise ThreatspecError("TS-IMAGE", f"{text} {ref!r}{did_you_mean(ref, known)}")


def _packaged(kind: str, number: str) -> NDArray[np.uint8]:
    data = PACKAGED[kind]
    if not number.isdecimal() or int(number) >= data.count:
        text = f"{kind} has images 0 to {data.count - 1}, but got {number!r}"
        raise ThreatspecError("TS-IMAGE", text)
    found: NDArray[np.uint8] = data.images[int(number)]
    return found


@lru_cache(maxsize=64)
def _opened(path: Path, ref: str) -> NDArray[np.uint8]:
    from threatspec.subjects.images._files import open_image

    found = open_image(path, ref)
    found.flags.writeable = False
    return found


def _checked(image: NDArray[np.uint8], by: str) -> NDArray[np.uint8]:
    import numpy as np

    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in {1, 3}:
        text = f"{by} must leave bytes of (height, width, 1 or 3), but left {image.dtype} "
        raise ThreatspecError("TS-IMAGE", f"{text}{image.shape}")
    return image
