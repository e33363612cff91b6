"""Quantities with units, parsed once: ``1e18 FLOP``, ``20 USD``, ``10 examples``, ``5 %``.

A bare number is in the unit its key names, and only units of that kind may be
written: ``steps: 10 examples`` is an error.
"""

from __future__ import annotations

import math
import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationInfo
from pydantic_core import PydanticCustomError

__all__ = ["Count", "Flops", "Level", "Share", "parse_quantity"]

_NUMBER = re.compile(r"\s*([-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)\s*(\S.*?)?\s*")
_FLOPS = {"FLOP": 1.0, "FLOPs": 1.0, "TFLOP": 1e12, "PFLOP": 1e15, "EFLOP": 1e18}
_COUNTS = {
    "configurations": ("configuration", "configurations"),
    "epochs": ("epoch", "epochs"),
    "max_tokens": ("token", "tokens"),
    "n": ("example", "examples", "row", "rows"),
    "queries": ("query", "queries"),
    "replicates": ("replicate", "replicates"),
    "rows": ("row", "rows", "example", "examples"),
    "steps": ("step", "steps"),
    "warmup_steps": ("step", "steps"),
}
"""Units of whole numbers by the key they stand under; other keys take bare numbers."""
_SHARES = {"%": 0.01}


def parse_quantity(value: Any, units: dict[str, float]) -> float | int:
    """``value`` as a number in the base unit; ``units`` maps an accepted unit to its factor.

    Raises PydanticCustomError of type ``unit`` for text that is no number or has another unit.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _finite(value)
    match = _NUMBER.fullmatch(value) if isinstance(value, str) else None
    if match is None or (match[2] is not None and match[2] not in units):
        raise _unit_error(units)
    return _finite(float(match[1]) * units.get(match[2] or "", 1.0))


def _finite(value: float | int) -> float | int:
    try:
        if math.isfinite(value):
            return value
    except OverflowError:  # a whole number that no float holds
        pass
    raise PydanticCustomError("finite_number", "must be a finite number")


def _unit_error(units: dict[str, float]) -> PydanticCustomError:
    if not units:
        return PydanticCustomError("unit", "must be a number without a unit")
    known = ", ".join(units)
    return PydanticCustomError(
        "unit", "must be a number, alone or with a unit ({units})", {"units": known}
    )


def _flops(value: Any) -> float:
    return float(parse_quantity(value, _FLOPS))


def _count(value: Any, info: ValidationInfo) -> int:
    units = dict.fromkeys(_COUNTS.get(info.field_name or "", ()), 1.0)
    number = parse_quantity(value, units)
    if number == int(number):
        return int(number)
    raise PydanticCustomError("whole_number", "must be a whole number")


def _share(value: Any) -> float:
    return float(parse_quantity(value, _SHARES))


def _level(value: Any) -> float:
    """`16/255` is how images' perturbations are written; a bare number goes from 0 to 1."""
    if isinstance(value, str) and value.replace(" ", "").endswith("/255"):
        value = float(parse_quantity(value.rpartition("/")[0], {})) / 255
    if isinstance(value, str) and "/" in value:
        raise PydanticCustomError("unit", "must be a number from 0 to 1, or of 255 steps (16/255)")
    return float(parse_quantity(value, {}))


Flops = Annotated[float, BeforeValidator(_flops), Field(ge=0)]
"""Floating-point operations: a number, or text like ``1e13 FLOP`` or ``2 PFLOP``."""

Count = Annotated[int, BeforeValidator(_count), Field(ge=0)]
"""A whole number of things: ``10``, or with the unit of its key, as in ``n: 10 examples``."""

Level = Annotated[float, BeforeValidator(_level), Field(ge=0, le=1)]
"""A brightness, or a change of it, between 0 and 1: ``0.0627`` or ``16/255``."""

Share = Annotated[float, BeforeValidator(_share), Field(ge=0, le=1)]
"""A share between 0 and 1: ``0.95`` or ``95 %``."""
