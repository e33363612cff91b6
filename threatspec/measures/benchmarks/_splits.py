"""Splits drawn by the hash of a name: whoever has the same names draws the same splits."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import get_args

from threatspec.measures.base import Split

__all__ = ["SPLITS", "drawn_split"]

SPLITS: tuple[Split, ...] = get_args(Split)


def drawn_split(cluster: str, shares: Mapping[Split, float]) -> Split:
    """The split of a cluster; adding rows to a file moves no other row.

    Args:
        cluster: name of the cluster, so that none is torn apart.
        shares: by split; they sum to 1.
    """
    digest = hashlib.sha256(f"threatspec split {cluster}".encode()).digest()
    point = int.from_bytes(digest[:8]) / 2**64
    wanted = [split for split in SPLITS if shares.get(split)]
    edge = 0.0
    for split in wanted:
        edge += shares[split]
        if point < edge:
            return split
    return wanted[-1]
