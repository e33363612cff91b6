"""Instruments: what is read of a subject beside measures. They are drawn, and judge nothing."""

from threatspec.instruments.base import (
    INSTRUMENTS,
    Instrument,
    InstrumentConfig,
    InstrumentContext,
    Prompts,
)

__all__ = ["INSTRUMENTS", "Instrument", "InstrumentConfig", "InstrumentContext", "Prompts"]
