"""Are instruments planned as the spec says, and are their curves those of their panels?

They decide nothing, but a plot that was read of something else than it says would mislead.
"""

from __future__ import annotations

from collections.abc import Iterator

from threatspec.campaign import models_of
from threatspec.records import Arm, InstrumentReading, PlannedInstrument, TrialKind
from threatspec.reports.bundle._checks import Check, found
from threatspec.reports.bundle._matter import Matter

__all__ = ["instrument_checks"]


def instrument_checks(matter: Matter) -> Iterator[Check]:
    """Nothing, where no instrument was planned."""
    if matter.plan.instruments or matter.spec.instruments:
        text = "instruments are read on the spec's subjects, and drew what was planned"
        yield found("instruments", _faults(matter), text)


def _faults(matter: Matter) -> Iterator[str]:
    planned = matter.plan.instruments
    for name in planned.keys() ^ matter.spec.instruments.keys():
        yield f"instrument {name!r} is in the spec or in the plan, but not in both"
    for name in planned.keys() & matter.spec.instruments.keys():
        if planned[name].use != matter.spec.instruments[name].use:
            yield f"instrument {name!r} is another one than the spec says"
        for fault in _read(matter, planned[name]):
            yield f"instrument {name!r} {fault}"


def _read(matter: Matter, planned: PlannedInstrument) -> Iterator[str]:
    models = {name: models_of(one, name) for name, one in matter.spec.all_subjects.items()}
    keys = {panel.key for panel in planned.panels}
    for reading in planned.readings:
        arms = models.get(reading.subject, {})
        if arms.get(reading.arm) != reading.model:
            yield f"is read on {reading.model!r}, which is no such arm of {reading.subject!r}"
        elif not _as_planned(matter, planned, reading, arms.get(Arm.UNDEFENDED)):
            yield f"does something else on {reading.model!r} than it says"
        result = matter.done.get(reading.trial)
        for curve in result.curves if result else ():
            sizes = {len(curve.x), len(curve.y), *(len(v) for v in (curve.low, curve.high) if v)}
            if len(sizes) > 1 or not curve.x or curve.name.partition("/")[0] not in keys:
                yield f"drew {curve.name[:50]!r}, which belongs to no panel, or has gaps"


def _as_planned(
    matter: Matter, planned: PlannedInstrument, reading: InstrumentReading, base: str | None
) -> bool:
    trial = matter.plan.trials[reading.trial]
    said = (trial.work.get("instrument"), trial.work.get("settings"))
    own = reading.model == trial.subject or reading.model.startswith(f"{trial.subject}+")
    compared = trial.work.get("base") in (None, base)
    kind = trial.kind is TrialKind.INSTRUMENT
    return kind and own and compared and said == (planned.use, planned.settings)
