"""Quantities with units, parsed once: ``1e18 FLOP``, ``20 USD``, ``10 examples``, ``5 %``.

A bare number is in the unit its key names (design section 3).
"""

from __future__ import annotations

import math
import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

__all__ = ["Count", "Flops", "Share", "parse_quantity"]

_NUMBER = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(\S.*?)?\s*")
_FLOPS = {"FLOP": 1.0, "FLOPs": 1.0, "TFLOP": 1e12, "PFLOP": 1e15, "EFLOP": 1e18}
_COUNTS = dict.fromkeys(
    ("example", "examples", "row", "rows", "step", "steps", "configuration", "configurations"), 1.0
)
_SHARES = {"%": 0.01}


def parse_quantity(value: Any, units: dict[str, float]) -> float | int:
    """``value`` as a number in the base unit; ``units`` maps an accepted unit to its factor.

    Raises PydanticCustomError of type ``unit`` for text that is no number or has another unit.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    match = _NUMBER.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise _unit_error(value, units)
    number, unit = float(match[1]), match[2]
    if unit is not None and unit not in units:
        raise _unit_error(value, units)
    result = number * units.get(unit or "", 1.0)
    if not math.isfinite(result):
        raise PydanticCustomError("finite_number", "must be a finite number")
    return result


def _unit_error(value: Any, units: dict[str, float]) -> PydanticCustomError:
    return PydanticCustomError(
        "unit",
        "must be a number, alone or with one of the units {units}, but got {got}",
        {"units": ", ".join(units), "got": repr(value)},
    )


def _flops(value: Any) -> float:
    return float(parse_quantity(value, _FLOPS))


def _count(value: Any) -> int:
    number = parse_quantity(value, _COUNTS)
    if math.isfinite(number) and number == int(number):
        return int(number)
    raise PydanticCustomError("int_from_float", "must be a whole number")


def _share(value: Any) -> float:
    return float(parse_quantity(value, _SHARES))


Flops = Annotated[float, BeforeValidator(_flops), Field(ge=0)]
"""Floating-point operations: a number, or text like ``1e13 FLOP`` or ``2 PFLOP``."""

Count = Annotated[int, BeforeValidator(_count), Field(ge=0)]
"""A whole number of things: ``10``, ``10 examples``, ``200 steps``."""

Share = Annotated[float, BeforeValidator(_share), Field(ge=0, le=1)]
"""A share between 0 and 1: ``0.95`` or ``95 %``."""
