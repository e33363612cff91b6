"""What a search may vary: ranges written at the knobs of a configuration, and lists in YAML."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from threatspec.attacks.base import Attack, AttackConfig
from threatspec.records import Knob

__all__ = ["Searched", "listed_knobs", "space_of"]


@dataclass(frozen=True, slots=True)
class Searched:
    """Metadata of a field: what a search varies it over where nobody says anything else."""

    low: float = 0.0
    high: float = 0.0
    log: bool = False
    choices: tuple[Any, ...] = ()


def listed_knobs(attack: Attack, knobs: Mapping[str, Any]) -> dict[str, Knob]:
    """Knobs that are given a list where a single value is meant: finite sets to search."""
    found = attack.listed(knobs).items()
    return {name: Knob(choices=_once(values)) for name, values in found}


def _once(values: Iterable[Any]) -> tuple[Any, ...]:
    """A value that is listed twice is tried once; values may be lists themselves."""
    return tuple({repr(value): value for value in values}.values())


def space_of(
    config: type[AttackConfig], given: Mapping[str, Any], most: Mapping[str, float]
) -> dict[str, Knob]:
    """Ranges of the knobs that are not given, none above `most`."""
    found: dict[str, Knob] = {}
    for name, field in config.model_fields.items():
        ranged = next((m for m in field.metadata if isinstance(m, Searched)), None)
        if ranged is not None and name not in given:
            found[name] = _knob(ranged, most.get(name, math.inf))
    return found


def _knob(ranged: Searched, most: float) -> Knob:
    if ranged.choices:
        kept = tuple(c for c in ranged.choices if not isinstance(c, (int, float)) or c <= most)
        return Knob(choices=kept or ranged.choices[:1])
    integer = isinstance(ranged.low, int)
    high = min(ranged.high, most)
    low = min(ranged.low, high)
    return Knob(low=low, high=high, log=ranged.log, integer=integer)
