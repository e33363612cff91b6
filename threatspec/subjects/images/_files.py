"""Image files of strangers: checked before they are unfolded."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from threatspec.errors import ThreatspecError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["FORMATS", "MOST_PIXELS", "open_image"]

MOST_PIXELS = 50_000_000
"""A file that says it has more is not opened: a few kilobytes may unfold to gigabytes."""
FORMATS = ("PNG", "JPEG", "BMP", "WEBP")
_MODES = {"1": "L", "L": "L", "RGB": "RGB"}
"""Modes that are read, and as what; a palette, transparency or 16 bits would be guessed at."""


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
        text = "image files are read by Pillow, which is not installed; install "
        raise ThreatspecError("TS-MISSING-EXTRA", f"{text}threatspec-claims[images]") from None
    import numpy as np

    try:
        with warnings.catch_warnings(), Image.open(path, formats=formats) as opened:
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            _check(opened.size, opened.mode, ref)
            image = opened.convert(_MODES[opened.mode])
    except FileNotFoundError:
        raise _unusable(
            f"{ref} must be a file, but there is none; it is looked for in {path}"
        ) from None
    except UnidentifiedImageError:
        raise _unusable(f"{ref} must be one of {', '.join(formats)}, but is none") from None
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise _unusable(f"{ref} must be a whole image, but cannot be read: {error}") from None
    found: NDArray[np.uint8] = np.asarray(image, dtype=np.uint8).copy()
    return found if found.ndim == 3 else found[:, :, None]


def _check(size: tuple[int, int], mode: str, ref: str) -> None:
    if mode not in _MODES:
        text = f"{ref} must be grey or RGB with 8 bits, but has mode {mode}; convert it first"
        raise _unusable(text)
    if size[0] * size[1] > MOST_PIXELS:
        text = f"{ref} must have at most {MOST_PIXELS:,} pixels, but says {size[0]} x {size[1]}"
        raise _unusable(text)


def _unusable(message: str) -> ThreatspecError:
    return ThreatspecError("TS-IMAGE", message)
