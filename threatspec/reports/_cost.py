"""Cost to break: the best attack so far against compute, as a table and as a step chart.

Positions across are hundredths of the drawing, so that a browser can stretch it and keep its text.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from threatspec.claims import ClaimVerdict, CostCurve, CostPoint
from threatspec.records import UNTOUCHED, Arm
from threatspec.reports._predicates import limit, own_reading
from threatspec.reports._words import flops, percent

__all__ = ["Cost", "CostLine", "Trace", "cost"]

_TOP, _HEIGHT, _FOOT = 20, 180, 42
_FIRST, _LAST = 14.0, 92.0
"""Where the least and the largest cost stand; 0 has no logarithm and stands at the left edge."""
_ROOM = 1.1
"""How far the scale goes on behind the largest cost."""
_MOST = 6
"""Numbers beneath the chart."""


@dataclass(frozen=True, slots=True)
class CostLine:
    """One improvement of the best attack so far, or where a curve ends."""

    subject: str
    flops: str
    steps: int
    rate: str
    by: str


@dataclass(frozen=True, slots=True)
class Trace:
    """One arm on the chart."""

    arm: Arm
    name: str
    end: str
    """How the curve ends, in words."""
    path: str
    """The steps, as SVG has them."""
    last: tuple[float, float]
    """Where it ends; open if `censored`."""
    censored: bool
    broken: tuple[float, float]
    """Where it is broken, unless it is `censored`."""


@dataclass(frozen=True)
class Cost:
    """What it costs to break each arm of one claim."""

    measure: str
    highest: bool
    """Whether the highest share so far is the best attack, or the lowest."""
    limit: float | None
    at_most: bool
    curves: tuple[CostCurve, ...]

    @property
    def title(self) -> str:
        """What the chart shows."""
        best = "highest" if self.highest else "lowest"
        return f"{best} share of {self.measure} so far, by FLOPs of the attack"

    @property
    def claimed(self) -> str:
        """The threshold in words."""
        word = "at most" if self.at_most else "at least"
        return f"claimed: {word} {percent(self.limit or 0.0)} %"

    @property
    def ends(self) -> tuple[tuple[Arm, str, str], ...]:
        """Each arm with its subject and with what it costs to break it."""
        return tuple((curve.arm, curve.subject, _end(curve)) for curve in self.curves)

    @property
    def lines(self) -> tuple[CostLine, ...]:
        """The curves as rows of a table; of equal costs only the best."""
        return tuple(line for curve in self.curves for line in _lines(curve))

    @property
    def drawn(self) -> bool:
        """Whether any attack spent something: else there is nothing to draw along."""
        return any(curve.tried > 0 for curve in self.curves)

    # the drawing

    @property
    def height(self) -> int:
        """Pixels of the drawing."""
        return _TOP + _HEIGHT + _FOOT

    @property
    def foot(self) -> int:
        """Where the scale stands."""
        return _TOP + _HEIGHT

    @property
    def grid(self) -> str:
        """Lines across, as SVG has them."""
        return "".join(f"M0 {y:g}H100" for y, _ in self.shares)

    @property
    def first(self) -> float:
        """Where the scale of logarithms begins."""
        return _FIRST

    @property
    def limit_y(self) -> float:
        """Height of the threshold."""
        return _y(self.limit or 0.0)

    @property
    def shares(self) -> tuple[tuple[float, str], ...]:
        """Heights with their numbers."""
        return tuple((_y(share), f"{percent(share)} %") for share in (0.0, 0.25, 0.5, 0.75, 1.0))

    @property
    def costs(self) -> tuple[tuple[float, str], ...]:
        """Places with their numbers."""
        scale = _scale(self.curves)
        shown = ((scale.x(value), flops(value).removesuffix(" FLOPs")) for value in scale.ticks)
        return (0.0, "0"), *shown

    @property
    def traces(self) -> tuple[Trace, ...]:
        """Every arm, the subject last so that it lies on top."""
        scale = _scale(self.curves)
        return tuple(_trace(curve, scale) for curve in reversed(self.curves))


def cost(claim: ClaimVerdict, some: bool) -> Cost | None:
    """The costs of a claim, or nothing if it has no single bound; `some` for claims `for: some`."""
    if not claim.costs:
        return None
    allowed = limit(claim.holds)
    return Cost(
        own_reading(claim.holds),
        allowed.at_most != some,
        allowed.value,
        allowed.at_most,
        claim.costs,
    )


def _end(curve: CostCurve) -> str:
    if not curve.censored:
        return f"broken from {flops(curve.broken_at)}" if curve.broken_at else "broken at no cost"
    if not curve.tried:
        return "not broken by anything that was tried, none of which trained"
    return f"not broken by what was tried, up to {flops(curve.tried)}"


def _lines(curve: CostCurve) -> Iterator[CostLine]:
    for point in _improvements(curve.points):
        which = "" if point.procedure == UNTOUCHED else f", replicate {point.replicate}"
        yield CostLine(
            curve.subject,
            flops(point.flops).removesuffix(" FLOPs"),
            point.steps,
            f"{percent(point.rate)} %",
            f"{point.procedure}{which}",
        )


def _improvements(points: Sequence[CostPoint]) -> list[CostPoint]:
    """The last at each cost is the best there; the untouched subject is kept beside it."""
    last = len(points) - 1
    return [
        point
        for number, point in enumerate(points)
        if number in {0, last} or points[number + 1].flops != point.flops
    ]


# the drawing


@dataclass(frozen=True, slots=True)
class _Scale:
    """A logarithmic scale between two costs."""

    low: float
    high: float

    def x(self, value: float) -> float:
        if value <= 0:
            return 0.0
        wide = math.log(self.high / self.low)
        return round(_FIRST + (_LAST - _FIRST) * math.log(value / self.low) / wide, 2)

    @property
    def ticks(self) -> tuple[float, ...]:
        """Round numbers: powers of ten, with twice and five times of them where there is room."""
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for factors in ((1, 2, 5), (1,)):
            found = [f * 10.0**n for n in decades for f in factors
                     if self.low <= f * 10.0**n <= self.high]  # fmt: skip
            if len(found) <= _MOST:
                return tuple(found) or (self.high / _ROOM,)
        return tuple(found[:: -(-len(found) // _MOST)])


def _scale(curves: Sequence[CostCurve]) -> _Scale:
    values = [v for c in curves for v in (c.tried, c.broken_at, *(p.flops for p in c.points)) if v]
    low, high = min(values, default=1.0), max(values, default=1.0)
    return _Scale(low / 1.3, high * _ROOM)


def _trace(curve: CostCurve, scale: _Scale) -> Trace:
    places = [(scale.x(point.flops), _y(point.rate)) for point in curve.points]
    (_, start), (_, end) = places[0], places[-1]
    steps = "".join(f"H{x:g}V{y:g}" for x, y in places[1:])
    last = (scale.x(curve.tried), end)
    reached = [point.rate for point in curve.points if point.flops <= curve.broken_at]
    return Trace(
        arm=curve.arm,
        name=curve.subject,
        end=_end(curve),
        path=f"M0 {start:g}{steps}H{last[0]:g}",
        last=last,
        censored=curve.censored,
        broken=(scale.x(curve.broken_at), _y(reached[-1])),
    )


def _y(rate: float) -> float:
    return round(_TOP + _HEIGHT * (1 - rate), 1)
