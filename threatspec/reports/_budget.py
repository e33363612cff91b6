"""What each attack spent against what its adversary may spend: steps of a run, FLOPs of one pass.

Controls are never charged, and of the replicates the dearest one is shown: further ones are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from threatspec.claims import CellReading, CellState, Evidence
from threatspec.records import Budget
from threatspec.reports._words import counted, flops, percent

__all__ = ["Gauge", "SpentLine", "budget_lines"]


@dataclass(frozen=True, slots=True)
class Gauge:
    """Spent against allowed."""

    spent: str
    allowed: str
    """Empty if the claim does not bound it."""
    share: float

    @property
    def width(self) -> str:
        """Of the bar; what exceeds the budget fills it."""
        return f"{min(self.share, 1.0) * 100:.4g}%"

    @property
    def over(self) -> bool:
        """Whether more was spent than allowed."""
        return self.share > 1.0

    @property
    def says(self) -> str:
        """The gauge in words."""
        if not self.allowed:
            return f"{self.spent}, not bounded"
        return f"{self.spent} of {self.allowed} ({percent(self.share)} %)"


@dataclass(frozen=True, slots=True)
class SpentLine:
    """One procedure."""

    procedure: str
    steps: Gauge
    flops: Gauge


def budget_lines(evidence: Evidence, cells: Sequence[CellReading]) -> tuple[SpentLine, ...]:
    """One line per procedure of `cells` that was run and is bounded or trained at all."""
    found: dict[str, list[CellReading]] = {}
    for cell in cells:
        if cell.state is not CellState.NOT_RUN:
            found.setdefault(cell.procedure, []).append(cell)
    lines = (_line(evidence, name, runs) for name, runs in found.items())
    return tuple(line for line in lines if line.steps.allowed or line.flops.allowed)


def _line(evidence: Evidence, name: str, runs: Sequence[CellReading]) -> SpentLine:
    allowed = _budget(evidence, runs[0].cell)
    steps, spent = max(r.spend.steps for r in runs), max(r.spend.flops for r in runs)
    return SpentLine(
        name,
        Gauge(
            f"{steps:,}",
            counted(allowed.steps, "step") if allowed.steps is not None else "",
            _share(steps, allowed.steps),
        ),
        Gauge(
            flops(spent).removesuffix(" FLOPs"),
            flops(allowed.flops) if allowed.flops is not None else "",
            _share(spent, allowed.flops),
        ),
    )


def _budget(evidence: Evidence, cell: str) -> Budget:
    attack = evidence.plan.cells[cell].attack
    trial = evidence.plan.trials[attack] if attack else None
    return (trial.budget if trial else None) or Budget()


def _share(spent: float, allowed: float | None) -> float:
    if not allowed:
        return 0.0 if allowed is None else float(spent > 0)
    return spent / allowed
