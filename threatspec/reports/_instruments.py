"""Instruments as plots: what was read of the subjects, beside what was decided about them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from threatspec.claims import Evidence
from threatspec.records import (
    Arm,
    Curve,
    InstrumentReading,
    Panel,
    PlannedInstrument,
    TrialResult,
    TrialStatus,
)
from threatspec.reports._plots import Plot, PlotLine

__all__ = ["InstrumentView", "instruments", "instruments_data"]

_ARMS = {Arm.DEFENDED: "subject", Arm.CONTROL: "control of", Arm.UNDEFENDED: "undefended of"}


@dataclass(frozen=True)
class InstrumentView:
    """One instrument with everything that was read."""

    name: str
    planned: PlannedInstrument
    results: dict[str, TrialResult]
    """By trial, as far as there are any."""

    @property
    def settings(self) -> tuple[tuple[str, Any], ...]:
        """As they were resolved."""
        return tuple(self.planned.settings.items())

    @cached_property
    def plots(self) -> tuple[Plot, ...]:
        """One drawing of all models; where each has several lines, one for each model."""
        return tuple(plot for panel in self.planned.panels for plot in self._plots(panel))

    @property
    def notes(self) -> tuple[str, ...]:
        """What could not be read, and why; the verdicts do not depend on it."""
        return tuple(self._notes())

    @property
    def lines(self) -> tuple[tuple[str, str], ...]:
        """What was read and on what, in a few words each."""
        return tuple(
            (reading.model, _summary(panel, curve))
            for _, reading, _, curves in self._read()
            for panel in self.planned.panels
            for curve in _of(panel, curves)
        )

    def _plots(self, panel: Panel) -> Iterator[Plot]:
        found = [(r.model, detail, _of(panel, curves)) for _, r, detail, curves in self._read()]
        found = [one for one in found if one[2]]
        if not found:
            return
        if all(len(curves) == 1 for _, _, curves in found):
            yield Plot(panel, tuple(PlotLine(m, curves[0], d) for m, d, curves in found))
            return
        reach = tuple(v for _, _, cs in found for c in cs for v in (*c.y, *c.low, *c.high))
        for model, detail, curves in found:
            lines = tuple(PlotLine(_label(panel, curve), curve) for curve in curves)
            yield Plot(panel, lines, reach, f"{model}, {detail}")

    def _read(self) -> Iterator[tuple[str, InstrumentReading, str, tuple[Curve, ...]]]:
        """Each model once, however many subjects share it."""
        for trial, readings in self._by_trial().items():
            result = self.results.get(trial)
            if result is not None and result.status is TrialStatus.DONE:
                yield trial, readings[0], _roles(readings), result.curves

    def _by_trial(self) -> dict[str, list[InstrumentReading]]:
        found: dict[str, list[InstrumentReading]] = {}
        for reading in self.planned.readings:
            found.setdefault(reading.trial, []).append(reading)
        return found

    def _notes(self) -> Iterator[str]:
        for trial, readings in self._by_trial().items():
            result = self.results.get(trial)
            if result is None:
                yield f"{readings[0].model} was not read"
            elif result.status is not TrialStatus.DONE:
                why = f"{result.message} [{result.code}]" if result.code else result.message
                yield f"{readings[0].model} could not be read: {why}"


def instruments(evidence: Evidence) -> tuple[InstrumentView, ...]:
    """Every instrument of the plan, in the order of the file."""
    results = dict(evidence.instruments)
    planned = evidence.plan.instruments.items()
    return tuple(InstrumentView(name, one, results) for name, one in planned)


def instruments_data(views: Sequence[InstrumentView]) -> dict[str, Any]:
    """For machines: what was planned, and of each reading its curves or why there are none."""
    return {view.name: {**_planned(view), "readings": list(_readings(view))} for view in views}


def _planned(view: InstrumentView) -> dict[str, Any]:
    return view.planned.model_dump(mode="json", exclude={"readings"})


def _readings(view: InstrumentView) -> Iterator[dict[str, Any]]:
    for reading in view.planned.readings:
        result = view.results.get(reading.trial)
        kept = {"status", "code", "message", "curves"}
        told = result.model_dump(mode="json", include=kept) if result else {"status": "not_run"}
        yield {**reading.model_dump(mode="json"), **told}


def _of(panel: Panel, curves: Sequence[Curve]) -> tuple[Curve, ...]:
    return tuple(curve for curve in curves if curve.name.partition("/")[0] == panel.key)


def _label(panel: Panel, curve: Curve) -> str:
    return curve.name.removeprefix(panel.key).removeprefix("/") or panel.title


def _roles(readings: Sequence[InstrumentReading]) -> str:
    return ", ".join(f"{_ARMS[reading.arm]} {reading.subject}" for reading in readings)


def _summary(panel: Panel, curve: Curve) -> str:
    """First, last and highest value, without the position in a sentence of its own."""
    top = max(range(len(curve.y)), key=curve.y.__getitem__)
    label = curve.name.removeprefix(panel.key).removeprefix("/")
    head = f"{panel.title}, {label}" if label else panel.title
    at = [f"{curve.y[n]:.3g} at {curve.x[n]:g}" for n in (0, len(curve.y) - 1)]
    return f"{head}: {at[0]}, {at[1]}; highest {curve.y[top]:.3g} at {curve.x[top]:g}"
