"""Seeds: five streams, each derived from the claim's root, the replicate and the stream's name.

Seeds do not depend on the arm or the procedure: the same replicate draws the same rows everywhere,
so that arms and attacks can be compared in pairs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from threatspec.records import Stream

__all__ = ["replicate_seeds", "search_seed"]


def replicate_seeds(
    root: int, replicate: int | str, streams: Iterable[Stream]
) -> dict[Stream, int]:
    """One seed in [0, 2**31) per stream; a search has a name where replicates have numbers."""
    return {stream: _seed(root, replicate, stream) for stream in sorted(streams)}


def search_seed(root: int, run: str) -> int:
    """Seed of what a search proposes, in [0, 2**31)."""
    return _seed(root, run, "propose")


def _seed(root: int, replicate: int | str, stream: str) -> int:
    text = f"threatspec/{root}/{replicate}/{stream}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1
