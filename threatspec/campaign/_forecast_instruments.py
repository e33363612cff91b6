"""What instruments of a plan will read, before anything runs. They are charged to no adversary."""

from __future__ import annotations

from dataclasses import dataclass

from threatspec.instruments import INSTRUMENTS
from threatspec.records import Plan, PlannedInstrument

__all__ = ["InstrumentForecast", "forecast_instruments"]


@dataclass(frozen=True, slots=True)
class InstrumentForecast:
    """What one instrument costs."""

    name: str
    use: str
    trials: int
    """Models that it is read on; one that several subjects share is read once."""
    prompts: int
    """Prompts of every reading, all of them together."""
    steps: int
    """Optimiser steps on the way, of all readings together."""


def forecast_instruments(plan: Plan) -> tuple[InstrumentForecast, ...]:
    """In the order of the spec; nothing but the plan is read.

    Raises ThreatspecError TS-UNKNOWN-NAME for an instrument that is not installed here.
    """
    return tuple(_one(name, planned) for name, planned in plan.instruments.items())


def _one(name: str, planned: PlannedInstrument) -> InstrumentForecast:
    instrument = INSTRUMENTS.get(planned.use)
    config = instrument.Config.model_validate(planned.settings, strict=False)
    trials = len({reading.trial for reading in planned.readings})
    return InstrumentForecast(
        name=name,
        use=planned.use,
        trials=trials,
        prompts=trials * sum(prompts.n for prompts in instrument.prompts(config)),
        steps=trials * instrument.steps(config),
    )
