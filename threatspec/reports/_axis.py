"""One axis per claim: the worst run, the witness and the control against what the claim allows.

Positions are percentages of the drawing, so that a browser can stretch it and keep its text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from threatspec.claims import ClaimVerdict
from threatspec.records import Arm
from threatspec.reports._predicates import limit, own_reading
from threatspec.reports._words import percent
from threatspec.reports._worst import Run, run_of, worst
from threatspec.schema import Verdict

__all__ = ["Axis", "Mark", "axis"]

_LEFT, _WIDTH = 2.0, 96.0
"""Where the axis begins, and how long it is: marks at its ends are not cut off."""
_TOP, _ROW, _FOOT = 26, 44, 26


@dataclass(frozen=True, slots=True)
class Mark:
    """One run on the axis: interval, estimate, and what it is."""

    kind: str
    """`worst`, `witness` or `control`."""
    label: str
    run: Run
    y: int
    """Of its line; the label stands above."""

    @property
    def low(self) -> str:
        """Left end of the interval."""
        return _x(self.run.reading.lower)

    @property
    def at(self) -> str:
        """The estimate."""
        return _x(self.run.reading.tally.rate)

    @property
    def high(self) -> str:
        """Right end of the interval."""
        return _x(self.run.reading.upper)


@dataclass(frozen=True, slots=True)
class Axis:
    """Everything that stands on one axis."""

    measure: str
    at_most: bool
    limit: float | None
    marks: tuple[Mark, ...]

    @property
    def height(self) -> int:
        """Pixels of the drawing."""
        return _TOP + _ROW * len(self.marks) + _FOOT

    @property
    def foot(self) -> int:
        """Where the scale stands."""
        return _TOP + _ROW * len(self.marks)

    @property
    def scale(self) -> tuple[tuple[str, str, str], ...]:
        """Position, text and alignment of the numbers beneath."""
        steps = ((0.0, "start"), (0.25, "middle"), (0.5, "middle"), (0.75, "middle"), (1.0, "end"))
        return tuple((_x(v), f"{percent(v)} %", anchor) for v, anchor in steps)

    @property
    def limit_x(self) -> str:
        """Position of the threshold."""
        return _x(self.limit or 0.0)

    @property
    def limit_anchor(self) -> str:
        """The threshold's label stands on the side where there is room."""
        return "end" if (self.limit or 0.0) > 0.5 else "start"

    @property
    def allowed(self) -> tuple[str, str]:
        """Left end and width of what the claim allows."""
        value = min(max(self.limit or 0.0, 0.0), 1.0)
        low, high = (0.0, value) if self.at_most else (value, 1.0)
        return _x(low), f"{(high - low) * _WIDTH:.4g}%"

    @property
    def claimed(self) -> str:
        """The threshold in words."""
        if self.limit is None:
            return "no constant threshold"
        return f"claimed: {'at most' if self.at_most else 'at least'} {percent(self.limit)} %"


def axis(claim: ClaimVerdict) -> Axis | None:
    """The axis of a claim, or nothing if no run of it can be shown."""
    measure, allowed = own_reading(claim.holds), limit(claim.holds)
    marks = tuple(
        Mark(kind, label, run, _TOP + _ROW * number + 28)
        for number, (kind, label, run) in enumerate(_runs(claim, measure))
    )
    return Axis(measure, allowed.at_most, allowed.value, marks) if marks else None


def _runs(claim: ClaimVerdict, measure: str) -> Iterator[tuple[str, str, Run]]:
    arms = {arm: [cell for cell in claim.cells if cell.arm is arm] for arm in Arm}
    found = worst(arms[Arm.DEFENDED], claim.holds)
    witness = _witness(claim, measure)
    if found and not (witness and witness.cell.cell == found.cell.cell):
        yield "worst", "worst run on the subject", found
    if witness:
        same = found is not None and found.cell.cell == witness.cell.cell
        what = "break" if claim.verdict is Verdict.REFUTED else "attack that does it"
        yield (
            "witness",
            f"witness, the cheapest {what}{' and the worst run' if same else ''}",
            witness,
        )
    control = worst(arms[Arm.CONTROL], claim.holds)
    if control:
        yield "control", "control, which must break", control


def _witness(claim: ClaimVerdict, measure: str) -> Run | None:
    if claim.witness is None:
        return None
    cell = next((c for c in claim.cells if c.cell == claim.witness.cell), None)
    return run_of(cell, measure) if cell else None


def _x(value: float) -> str:
    return f"{_LEFT + _WIDTH * min(max(value, 0.0), 1.0):.4g}%"
