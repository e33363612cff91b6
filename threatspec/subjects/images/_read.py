"""From a reference to bytes: what stands before the colon says where an image is.

`digits:N` and `mnist5k:N` are of data sets that travel in packages, `photo:NAME` is a photograph of
scikit-image, `file:PATH` a PNG, JPEG, BMP or WebP file of the user's, relative to the spec, and
`cifar10:PATH#test/17` an image of a set that the user has as a folder.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from threatspec.errors import ThreatspecError, did_you_mean
from threatspec.subjects._request import Request
from threatspec.subjects.images._files import open_image, stamp_of
from threatspec.subjects.images._names import number_below
from threatspec.subjects.images._sources import PACKAGED, PHOTOGRAPHS, package_file
from threatspec.subjects.images.folders import FOLDERS, PARTS, image_folder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["KINDS", "image_of", "read_image", "require_known"]


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

    Raises ThreatspecError TS-IMAGE for one that is not there or cannot be used, TS-FILE-MISSING for
    a folder of images that is not there, TS-MISSING-EXTRA for a package that is not installed.
    """
    kind, _, name = ref.partition(":")
    if kind in KINDS and name:
        return KINDS[kind](kind, name, folder)
    raise _unknown(ref)


def require_known(ref: str) -> None:
    """Look at a name without opening anything. Raises ThreatspecError TS-IMAGE for a photograph
    that is none of those that travel in packages."""
    kind, _, name = ref.partition(":")
    if kind == "photo" and name not in PHOTOGRAPHS:
        raise _unknown(ref)


def _unknown(ref: str) -> ThreatspecError:
    kind, _, name = ref.partition(":")
    if kind == "photo":
        text = f"a photograph must be one of scikit-image's, but got {name[:40]!r}"
        return ThreatspecError("TS-IMAGE", f"{text}{did_you_mean(name, list(PHOTOGRAPHS))}")
    text = "an image must be digits:N, mnist5k:N, photo:NAME, file:PATH or of a folder "
    text += f"({', '.join(FOLDERS)}), but got {ref!r}"
    return ThreatspecError("TS-IMAGE", f"{text}{did_you_mean(ref, [f'{one}:' for one in KINDS])}")


def _packaged(kind: str, number: str, folder: Path) -> NDArray[np.uint8]:
    data = PACKAGED[kind]
    index = number_below(number, data.count)
    if index is None:
        text = f"{kind} has images 0 to {data.count - 1}, but got {number[:40]!r}"
        raise ThreatspecError("TS-IMAGE", text)
    found: NDArray[np.uint8] = data.images[index]
    return found


def _photograph(kind: str, name: str, folder: Path) -> NDArray[np.uint8]:
    if name not in PHOTOGRAPHS:
        raise _unknown(f"{kind}:{name}")
    return _opened(package_file("skimage", "scikit-image", f"data/{name}.png"), f"{kind}:{name}")


def _file(kind: str, name: str, folder: Path) -> NDArray[np.uint8]:
    return _opened(folder / name, f"{kind}:{name}")


def _of_folder(kind: str, name: str, folder: Path) -> NDArray[np.uint8]:
    """`PATH#PART/NAME` of a set that the user has as a folder."""
    place, _, image = name.partition("#")
    part, _, own = image.partition("/")
    if part not in PARTS or not own:
        text = f"an image of a folder must be {kind}:PATH#train/NAME or #test/NAME, but got"
        raise ThreatspecError("TS-IMAGE", f"{text} {kind}:{name!r}")
    return image_folder(f"{kind}:{place}", folder).image(PARTS[part], own)


KINDS: dict[str, Callable[[str, str, Path], NDArray[np.uint8]]] = {
    **dict.fromkeys(PACKAGED, _packaged),
    "photo": _photograph,
    "file": _file,
    **dict.fromkeys(FOLDERS, _of_folder),
}
"""Who reads an image, by what stands before the colon: told that, what follows, and the folder of
the spec."""


def _opened(path: Path, ref: str) -> NDArray[np.uint8]:
    return _unfolded(path, ref, stamp_of(path))


@lru_cache(maxsize=64)
def _unfolded(path: Path, ref: str, stamp: tuple[int, int]) -> NDArray[np.uint8]:
    """Kept until the file changes."""
    found = open_image(path, ref)
    found.flags.writeable = False
    return found


def _checked(image: NDArray[np.uint8], by: str) -> NDArray[np.uint8]:
    import numpy as np

    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in {1, 3}:
        text = f"{by} must leave bytes of (height, width, 1 or 3), but left {image.dtype} "
        raise ThreatspecError("TS-IMAGE", f"{text}{image.shape}")
    return image
