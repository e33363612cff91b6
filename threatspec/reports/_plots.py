"""Lines of numbers as a drawing: axes with round numbers, quartiles as bands, at most eight lines.

Places along are percentages, heights are pixels, so that a browser can stretch it and keep its
text.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from threatspec.records import Curve, Panel

__all__ = ["Plot", "PlotLine"]

_TOP, _HEIGHT, _FOOT = 30, 200, 46
_STYLES = 8
_DOTTED = 40
"""Points of a line up to which each is marked."""
_TICKS = 6


@dataclass(frozen=True, slots=True)
class PlotLine:
    """One curve with the words beside its key."""

    label: str
    curve: Curve
    detail: str = ""


@dataclass(frozen=True)
class Plot:
    """A panel with its lines.

    Args:
        panel: what the axes are.
        lines: in the order of the key.
        reach: numbers that the vertical axis must hold, so that plots side by side share it.
        about: what all of its lines are of, if they are of one thing.
    """

    panel: Panel
    lines: tuple[PlotLine, ...]
    reach: tuple[float, ...] = ()
    about: str = ""

    @property
    def height(self) -> int:
        """Pixels of the drawing."""
        return _TOP + _HEIGHT + _FOOT

    @property
    def foot(self) -> int:
        """Where the scale stands."""
        return _TOP + _HEIGHT

    @cached_property
    def _x(self) -> tuple[float, ...]:
        values = [v for line in self.lines for v in line.curve.x]
        return _round_steps(min(values), max(values), whole=True)

    @cached_property
    def _y(self) -> tuple[float, ...]:
        own = (v for line in self.lines for v in _all(line.curve))
        values = [0.0, *own, *self.reach]
        return _round_steps(min(values), max(values), whole=False)

    @property
    def xs(self) -> tuple[tuple[float, str], ...]:
        """Places with their numbers."""
        low, high = self._ends
        shown = [v for v in self._x if low <= v <= high]
        near = shown and shown[0] - low < (self._x[1] - self._x[0]) / 2
        shown = shown if near else [low, *shown]  # the first position is what people look at
        return tuple((self._along(v), _number(v)) for v in shown)

    @property
    def ys(self) -> tuple[tuple[float, str], ...]:
        """Heights with their numbers."""
        return tuple((self._up(v), _number(v)) for v in self._y)

    @property
    def grid(self) -> str:
        """Lines across, as SVG has them."""
        return "".join(f"M0 {y:g}H100" for y, _ in self.ys)

    @property
    def zero(self) -> float:
        """Height of nothing."""
        return self._up(0.0)

    @property
    def traces(self) -> tuple[tuple[str, str, str, tuple[tuple[float, float], ...]], ...]:
        """Class, path, band of quartiles and marked points of each line."""
        return tuple(
            (self.style(n), self._path(line.curve), self._band(line.curve), self._marks(line.curve))
            for n, line in enumerate(self.lines)
        )

    def style(self, number: int) -> str:
        """Class of a line: colour and dashes."""
        return f"s{number % _STYLES}"

    @property
    def rows(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """The numbers as a table: what is along, and each line's value there."""
        found = [dict(zip(line.curve.x, _told(line.curve), strict=True)) for line in self.lines]
        places = sorted({x for line in found for x in line})
        return tuple((_number(x), tuple(one.get(x, "–") for one in found)) for x in places)

    # geometry

    @property
    def _ends(self) -> tuple[float, float]:
        values = [v for line in self.lines for v in line.curve.x]
        return min(values), max(values)

    def _along(self, value: float) -> float:
        low, high = self._ends
        return round(2 + 96 * (value - low) / (high - low), 2) if high > low else 50.0

    def _up(self, value: float) -> float:
        low, high = self._y[0], self._y[-1]
        return round(_TOP + _HEIGHT * (1 - (value - low) / (high - low)), 1)

    def _points(self, curve: Curve, values: Sequence[float]) -> list[tuple[float, float]]:
        return [(self._along(x), self._up(y)) for x, y in zip(curve.x, values, strict=True)]

    def _path(self, curve: Curve) -> str:
        return _line(self._points(curve, curve.y))

    def _band(self, curve: Curve) -> str:
        if not curve.low or len(curve.x) < 2:
            return ""
        there = self._points(curve, curve.high)
        back = self._points(curve, curve.low)[::-1]
        return f"{_line([*there, *back])}Z"

    def _marks(self, curve: Curve) -> tuple[tuple[float, float], ...]:
        return tuple(self._points(curve, curve.y)) if len(curve.x) <= _DOTTED else ()


def _line(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in points)


def _all(curve: Curve) -> tuple[float, ...]:
    return (*curve.y, *curve.low, *curve.high)


def _told(curve: Curve) -> list[str]:
    """Each value, with its quartiles if it has any."""
    if not curve.low:
        return [_number(y) for y in curve.y]
    found = zip(curve.y, curve.low, curve.high, strict=True)
    return [f"{_number(y)} ({_number(low)} to {_number(high)})" for y, low, high in found]


def _number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 or abs(value) >= 1e6 else f"{value:,.0f}"


def _round_steps(low: float, high: float, *, whole: bool) -> tuple[float, ...]:
    """Round numbers, evenly apart, from below the lowest to above the highest."""
    step = _step((high - low) or 1.0)
    step = max(1.0, step) if whole else step
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return tuple(n * step for n in range(first, max(last, first + 1) + 1))


def _step(width: float) -> float:
    """1, 2 or 5 times a power of ten, of which at most `_TICKS` fit."""
    power = 10.0 ** math.floor(math.log10(width / _TICKS))
    return next(f * power for f in (1, 2, 5, 10) if width / (f * power) <= _TICKS)
