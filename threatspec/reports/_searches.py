"""Searches as small drawings: the best configuration so far against what was spent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from threatspec.claims import CellEvidence, Evidence
from threatspec.records import Search, Spend, Tried
from threatspec.reports._words import flops

__all__ = ["SearchChart", "SearchLine", "searches"]

WIDTH, HEIGHT = 240, 60
_ROOM = 0.05


@dataclass(frozen=True, slots=True)
class SearchLine:
    """One search: of a procedure on a subject."""

    subject: str
    path: str
    """Points of a polyline in a box of 240 x 60; empty if nothing was measured."""
    says: str
    """What it found, in words."""
    runs: int
    spend: Spend


@dataclass(frozen=True, slots=True)
class SearchChart:
    """The searches of one procedure, on one scale."""

    procedure: str
    lines: tuple[SearchLine, ...]
    zero: float | None
    """Height of the line above which the claim is broken; None if it is outside the box."""
    ends: tuple[str, str]
    """Lowest and highest value in the box."""
    most: str
    """FLOPs at the right edge."""


def searches(evidence: Evidence) -> tuple[SearchChart, ...]:
    """One chart per searched procedure, in the order of the plan."""
    found: dict[str, dict[str, CellEvidence]] = {}
    for cell in evidence.cells.values():
        if cell.tried:
            found.setdefault(cell.cell.procedure, {}).setdefault(cell.cell.subject, cell)
    procedures = evidence.plan.procedures
    return tuple(
        _chart(procedures[name].name, procedures[name].search, list(cells.values()))
        for name, cells in found.items()
    )


def _chart(name: str, search: Search | None, cells: Sequence[CellEvidence]) -> SearchChart:
    values = [one.value for cell in cells for one in cell.tried if one.value is not None]
    low, high = min([0.0, *values]) - _ROOM, max([0.0, *values]) + _ROOM
    most = max(sum(one.spend.flops for one in cell.tried) for cell in cells) or 1.0
    space = tuple(search.varied) if search else ()
    lines = tuple(_line(cell, space, most, low, high) for cell in cells)
    return SearchChart(
        procedure=name,
        lines=lines,
        zero=_height(0.0, low, high),
        ends=(f"{low + _ROOM:+.2f}", f"{high - _ROOM:+.2f}"),
        most=flops(most),
    )


def _line(
    cell: CellEvidence, space: Sequence[str], most: float, low: float, high: float
) -> SearchLine:
    points: list[str] = []
    best: Tried | None = None
    spent = list(accumulate(one.spend.flops for one in cell.tried))
    for at, one in zip(spent, cell.tried, strict=True):
        if one.value is not None and one.counts and (best is None or one.value > (best.value or 0)):
            if best is not None:
                points.append(_point(at / most, best.value or 0.0, low, high))
            best = one
            points.append(_point(at / most, one.value, low, high))
    if best is not None and best.value is not None:
        points.append(_point(spent[-1] / most, best.value, low, high))
    spend = sum((one.spend for one in cell.tried), Spend())
    return SearchLine(
        cell.cell.subject, " ".join(points), _says(cell, space, best), len(cell.tried), spend
    )


def _says(cell: CellEvidence, space: Sequence[str], best: Tried | None) -> str:
    failed = sum(one.value is None for one in cell.tried)
    tail = f", {failed} of them failed" if failed else ""
    if best is None or best.value is None:
        return f"none of {len(cell.tried)} configurations counts{tail}"
    knobs = ", ".join(f"{name}={_short(best.config.get(name))}" for name in space)
    return f"{best.value:+.2f} by {knobs}; {len(cell.tried)} configurations{tail}"


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _point(share: float, value: float, low: float, high: float) -> str:
    return f"{share * WIDTH:.1f},{_height(value, low, high):.1f}"


def _height(value: float, low: float, high: float) -> float:
    return round(HEIGHT * (1 - (value - low) / (high - low)), 1)
