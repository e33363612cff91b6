"""Numbers by position of an answer, of many prompts: one curve of means with quartiles."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from threatspec.records import Curve

__all__ = ["position_curve", "positions_read"]

_LEAST = 2
"""Prompts of which quartiles are taken."""


def position_curve(name: str, rows: Sequence[Sequence[float]]) -> Curve:
    """Mean and quartiles over prompts at each position, which count from 1.

    Args:
        name: of the curve.
        rows: values by position, of each prompt; answers may differ in length.
    """
    found = [[row[k] for row in rows if len(row) > k] for k in range(positions_read(rows))]
    quarters = [statistics.quantiles(column, n=4, method="inclusive") for column in found]
    return Curve(
        name=name,
        x=tuple(float(k + 1) for k in range(len(found))),
        y=tuple(map(statistics.fmean, found)),
        low=tuple(q[0] for q in quarters),
        high=tuple(q[2] for q in quarters),
    )


def positions_read(rows: Sequence[Sequence[object]]) -> int:
    """Positions that at least half of the prompts have: beyond, a mean is of other prompts."""
    lengths = sorted((len(row) for row in rows), reverse=True)
    least = max(_LEAST, -(-len(rows) // 2))
    return lengths[least - 1] if len(lengths) >= least else 0
