"""Seeds: five streams, each derived from the claim's root, the replicate and the stream's name.

Seeds do not depend on the arm or the procedure: the same replicate draws the same rows everywhere,
so that arms and attacks can be compared in pairs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from threatspec.records import Stream

__all__ = ["replicate_seeds"]


def replicate_seeds(root: int, replicate: int, streams: Iterable[Stream]) -> dict[Stream, int]:
    """One seed in [0, 2**31) per stream."""
    return {stream: _seed(root, replicate, stream) for stream in sorted(streams)}


def _seed(root: int, replicate: int, stream: Stream) -> int:
    text = f"threatspec/{root}/{replicate}/{stream}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1
