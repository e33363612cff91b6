"""Changes of images as whole bytes: rounded so that they stay in their ball, and put on images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from threatspec.errors import ThreatspecError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["applied", "control", "fitted", "most", "rounded"]

Norm = Literal["linf", "l2", "none"]
_BICUBIC = 3
_SLACK = 1e-6
"""Of a byte: `16/255` as a float may be a little less than 16 bytes."""


def most(norm: Norm, eps: float) -> int:
    """By how many bytes a channel may change at most under `linf`; 255 elsewhere."""
    return int(eps * 255 + _SLACK) if norm == "linf" else 255


def rounded(
    change: NDArray[np.floating], clean: NDArray[np.uint8] | None, norm: Norm, eps: float
) -> NDArray[np.int16]:
    """A change in bytes that is in the ball where the float one was, or was by rounding errors.

    Args:
        change: (height, width, channels), in shares of 255.
        clean: what it is a change of, which must stay an image; None: of many images.
    """
    wanted = np.asarray(change, dtype=np.float64) * 255
    if clean is not None:
        wanted = np.clip(wanted, -clean.astype(np.float64), 255.0 - clean)
    reach = most(norm, eps)
    found = np.clip(np.rint(wanted), -reach, reach)
    if norm == "l2" and _square(found) > _room(found.size, eps):
        found = _shortened(wanted, eps)
    return found.astype(np.int16)


def _square(change: NDArray[np.float64]) -> float:
    return float(np.square(change).sum())


def _room(size: int, eps: float) -> float:
    """Sum of squares, in bytes, of a change whose root mean square is `eps`."""
    return float(size * (eps * 255) ** 2 + _SLACK)


def _shortened(wanted: NDArray[np.float64], eps: float) -> NDArray[np.float64]:
    """Towards no change everywhere, then away from it where most was lost, while there is room."""
    room = _room(wanted.size, eps)
    size = np.sqrt(max(_square(wanted), 1e-12))
    found: NDArray[np.float64] = np.trunc(wanted * min(1.0, np.sqrt(room) / size))
    order = np.argsort(-np.abs(wanted - found), axis=None, kind="stable")
    costs = (2 * np.abs(found) + 1).ravel()[order]
    fits = np.cumsum(costs) <= room - _square(found)
    places = np.unravel_index(order[fits], found.shape)
    grown = np.abs(wanted[places]) > np.abs(found[places])
    found[places] += np.sign(wanted[places]) * grown
    return found


def applied(image: NDArray[np.uint8], change: NDArray[np.int16]) -> NDArray[np.uint8]:
    """An image with a change of its own shape, cut to the range of bytes.

    Raises ThreatspecError TS-IMAGE for another number of channels.
    """
    if image.shape[2] != change.shape[2]:
        text = f"the change of an image has {change.shape[2]} channels, but the image has"
        raise ThreatspecError("TS-IMAGE", f"{text} {image.shape[2]}; convert it first")
    found = fitted(image, (change.shape[0], change.shape[1])).astype(np.int16) + change
    cut: NDArray[np.uint8] = np.clip(found, 0, 255).astype(np.uint8)
    return cut


def fitted(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """An image at a height and width, by Pillow's bicubic filter; (0, 0): its own.

    Raises ThreatspecError TS-MISSING-EXTRA without Pillow where it must be resized.
    """
    if size in {(0, 0), image.shape[:2]}:
        return image
    try:
        from PIL import Image
    except ImportError:
        text = "images are resized by Pillow, which is not installed: pip install "
        raise ThreatspecError("TS-MISSING-EXTRA", f"{text}'threatspec-claims[images]'") from None
    there = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
    found = np.asarray(there.resize((size[1], size[0]), _BICUBIC), dtype=np.uint8)
    resized: NDArray[np.uint8] = found.reshape(*size, image.shape[2])
    return resized


def control(
    shape: tuple[int, int, int],
    method: Literal["sign", "gaussian", "clean"],
    norm: Norm,
    eps: float,
    seed: int,
) -> NDArray[np.int16]:
    """A change of a control's budget that looks at no model: (height, width, channels).

    `sign` moves every channel by `eps` up or down, `gaussian` by a normal number with a standard
    deviation of `eps`, projected into the ball.
    """
    draw = np.random.default_rng([seed, 1])
    if method == "clean":
        return np.zeros(shape, dtype=np.int16)
    if method == "sign":
        found = eps * draw.choice((-1.0, 1.0), size=shape)
    else:
        found = eps * draw.standard_normal(shape)
    if norm == "l2":
        found = found * min(1.0, eps / max(float(np.sqrt(np.mean(found**2))), 1e-12))
    return rounded(found, None, norm, eps)
