"""Image files of strangers: checked before they are unfolded."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from threatspec.errors import ThreatspecError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

__all__ = ["FORMATS", "MOST_PIXELS", "open_image", "stamp_of"]

MOST_PIXELS = 50_000_000
"""A file that says it has more is not opened: a few kilobytes may unfold to gigabytes."""
FORMATS = ("PNG", "JPEG", "BMP", "WEBP")
_MODES = {"1": "L", "L": "L", "RGB": "RGB"}
"""Modes that are read, and as what; a palette, transparency or 16 bits would be guessed at."""
_BITS = 8
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEAD = struct.Struct(">16sIIB")
"""Of a PNG file: signature and name of the first chunk, width, height, bits of a channel."""


def open_image(path: Path, ref: str, formats: tuple[str, ...] = FORMATS) -> NDArray[np.uint8]:
    """A file as bytes: (height, width, 1 or 3).

    Args:
        path: where it is.
        ref: how it is called, for messages.
        formats: that it may have, whatever its name says.

    Raises ThreatspecError TS-IMAGE for a file that is not there, is truncated, of another mode or
    bit depth, or larger than `MOST_PIXELS`; TS-MISSING-EXTRA without Pillow.
    """
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        text = "image files are read by Pillow, which is not installed: pip install "
        raise ThreatspecError("TS-MISSING-EXTRA", f"{text}'threatspec-claims[images]'") from None
    import numpy as np

    try:
        _look(path, ref)
        with warnings.catch_warnings():
            # Pillow warns while it opens, before anything of the image can be asked.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=formats) as opened:
                _check(opened, ref)
                image = opened.convert(_MODES[opened.mode])
    except FileNotFoundError:
        raise _unusable(
            f"{ref} must be a file, but there is none; it is looked for in {path}"
        ) from None
    except UnidentifiedImageError:
        raise _unusable(f"{ref} must be one of {', '.join(formats)}, but is none") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_large(ref, "more") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise _unusable(f"{ref} must be a whole image, but cannot be read: {error}") from None
    found: NDArray[np.uint8] = np.asarray(image, dtype=np.uint8).copy()
    return found if found.ndim == 3 else found[:, :, None]


def stamp_of(path: Path) -> tuple[int, int]:
    """When a file was changed last (ns) and its size in bytes, which tell whether what is kept of
    it is still so; (0, 0) for one that is not there."""
    try:
        state = path.stat()
    except (OSError, ValueError):  # whoever opens it says why
        return 0, 0
    return state.st_mtime_ns, state.st_size


def _look(path: Path, ref: str) -> None:
    """What the head of a PNG file says, which Pillow tells otherwise: 16 bits of a colour are 8 to
    it, and an image without pixels is none."""
    with path.open("rb") as file:
        head = file.read(_HEAD.size)
    if len(head) < _HEAD.size or not head.startswith(_SIGNATURE):
        return
    _, width, height, bits = _HEAD.unpack(head)
    if not width or not height:
        raise _unusable(f"{ref} must have pixels, but says {width} x {height}")
    if width * height > MOST_PIXELS:
        raise _too_large(ref, f"{width} x {height}")
    if bits > _BITS:
        raise _unusable(f"{ref} must have 8 bits, but has {bits} bits; convert it first")


def _check(opened: Image, ref: str) -> None:
    if opened.mode not in _MODES:
        text = (
            f"{ref} must be grey or RGB with 8 bits, but has mode {opened.mode}; convert it first"
        )
        raise _unusable(text)
    if "transparency" in opened.info:
        raise _unusable(f"{ref} must not be transparent, but has a transparent colour; convert it")
    if opened.width * opened.height > MOST_PIXELS:
        raise _too_large(ref, f"{opened.width} x {opened.height}")
    if (frames := getattr(opened, "n_frames", 1)) > 1:
        raise _unusable(f"{ref} must be one image, but holds {frames}; take one of them")


def _too_large(ref: str, size: str) -> ThreatspecError:
    return _unusable(f"{ref} must have at most {MOST_PIXELS:,} pixels, but says {size}")


def _unusable(message: str) -> ThreatspecError:
    return ThreatspecError("TS-IMAGE", message)
