"""Loss curves as small drawings: what training did, step by step, from realised training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from threatspec.claims import CellEvidence, Evidence

__all__ = ["Curve", "curves"]

WIDTH, HEIGHT = 240, 60
_POINTS = 60
_REPLICATES = 3


@dataclass(frozen=True, slots=True)
class Curve:
    """The training runs of one procedure on one subject."""

    procedure: str
    subject: str
    lines: tuple[str, ...]
    """Points of a polyline per replicate, in a box of 240 x 60 with loss 0 at the bottom."""
    highest: float
    """Loss at the top of the box."""
    first: float
    last: float
    """Mean loss over all training rows before and after, of the first replicate."""
    steps: int
    replicates: int


def curves(evidence: Evidence) -> tuple[Curve, ...]:
    """One drawing per training procedure and subject, in the order of the plan."""
    found: dict[tuple[str, str], list[CellEvidence]] = {}
    for cell in evidence.cells.values():
        if cell.realised:
            found.setdefault((cell.cell.procedure, cell.cell.subject), []).append(cell)
    return tuple(
        _curve(evidence.plan.procedures[procedure].name, subject, cells)
        for (procedure, subject), cells in found.items()
    )


def _curve(procedure: str, subject: str, cells: Sequence[CellEvidence]) -> Curve:
    runs = [cell.realised[-1] for cell in cells]
    highest = max((loss for run in runs for loss in run.loss), default=0.0) or 1.0
    return Curve(
        procedure=procedure,
        subject=subject,
        lines=tuple(_line(run.loss, highest) for run in runs[:_REPLICATES]),
        highest=highest,
        first=runs[0].probe_before,
        last=runs[0].probe_after,
        steps=runs[0].steps,
        replicates=len(runs),
    )


def _line(loss: Sequence[float], highest: float) -> str:
    """At most `_POINTS` points, the last step always among them."""
    stride = max(1, -(-len(loss) // _POINTS))
    last = len(loss) - 1
    shown = sorted({*range(0, len(loss), stride), last}) if loss else []
    return " ".join(
        f"{step / max(last, 1) * WIDTH:.1f},{HEIGHT * (1 - loss[step] / highest):.1f}"
        for step in shown
    )
