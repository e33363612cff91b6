"""PNG files of pictures in records: the plainest kind, written and read without any package.

A report is made where nothing that works with images is installed.

Source: PNG specification, third edition (W3C), sections 5 (chunks), 7 and 9 (filters).
"""

from __future__ import annotations

import struct
import zlib

__all__ = ["MOST_SIDE", "png_bytes", "png_read"]

MOST_SIDE = 224
"""Pixels of the longer side of a picture in records."""
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOURS = {1: 0, 3: 2}
"""Colour type of PNG by channels."""
_HEAD = struct.Struct(">IIBBBBB")


def png_bytes(data: bytes, height: int, width: int, channels: int) -> bytes:
    """An image as a PNG file.

    Args:
        data: bytes of pixels, line by line, channels of a pixel together.
        channels: 1 (grey) or 3 (RGB).

    Raises ValueError if there are not as many bytes as pixels need.
    """
    wide = width * channels
    if len(data) != height * wide or channels not in _COLOURS:
        raise ValueError(f"{height} x {width} x {channels} bytes are needed, but got {len(data)}")
    lines = b"".join(b"\0" + data[n * wide : (n + 1) * wide] for n in range(height))
    head = _HEAD.pack(width, height, 8, _COLOURS[channels], 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""))
    return _SIGNATURE + b"".join(_chunk(kind, content) for kind, content in parts)


def png_read(png: bytes) -> tuple[bytes, int, int, int]:
    """Pixels, height, width and channels of a file that `png_bytes` wrote.

    Raises ValueError for any other file, and for one that is larger than pictures are: records may
    come from a stranger, and what is small may unfold to much.
    """
    try:
        return _read(png)
    except (struct.error, zlib.error, KeyError) as error:
        raise ValueError(f"a picture must be a PNG file of its kind, but: {error}") from None


def _chunk(kind: bytes, content: bytes) -> bytes:
    sum_ = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", sum_)


def _read(png: bytes) -> tuple[bytes, int, int, int]:
    if png[: len(_SIGNATURE)] != _SIGNATURE:
        raise ValueError("a picture must be a PNG file, but is none")
    chunks = _chunks(png)
    if list(chunks) != [b"IHDR", b"IDAT", b"IEND"]:
        raise ValueError("a picture must have one chunk of each kind, but has others")
    width, height, *how = _HEAD.unpack(chunks[b"IHDR"])
    channels = {0: 1, 2: 3}.get(how[1], 0)
    if how != [8, how[1], 0, 0, 0] or not channels or not 0 < max(height, width) <= MOST_SIDE:
        text = f"a picture must be grey or RGB with 8 bits and at most {MOST_SIDE} pixels a side"
        raise ValueError(text)
    wide = width * channels + 1
    unfolding = zlib.decompressobj()
    lines = unfolding.decompress(chunks[b"IDAT"], height * wide + 1)
    if len(lines) != height * wide or any(lines[::wide]):
        raise ValueError("a picture must have the lines that it says, unfiltered")
    data = b"".join(lines[n * wide + 1 : (n + 1) * wide] for n in range(height))
    return data, height, width, channels


def _chunks(png: bytes) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    at = len(_SIGNATURE)
    while at < len(png):
        [size] = struct.unpack_from(">I", png, at)
        kind, content = png[at + 4 : at + 8], png[at + 8 : at + 8 + size]
        if png[at : at + 12 + size] != _chunk(kind, content) or kind in found:
            raise ValueError("a picture must be a whole PNG file, but is torn")
        found[kind] = content
        at += 12 + size
    return found
