"""Fitting the safeguards of a subject, one after another on what the one before has left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from threatspec.records import Budget
from threatspec.runners._asks import Asks
from threatspec.runners._guards import context_of
from threatspec.safeguards import SAFEGUARDS
from threatspec.subjects import Tamper
from threatspec.subjects._mount import mount
from threatspec.training import Meter

__all__ = ["fit"]


def fit(
    asks: Asks, before: Sequence[Tamper], planned: Sequence[Mapping[str, Any]], folder: Path
) -> tuple[tuple[Tamper, ...], list[dict[str, Any]]]:
    """Fit every safeguard of a plan on the subject of `asks`, which is given back bit-equal.

    Returns:
        The tampers in the order in which they are mounted, and the safeguards as plain data with
        what their policies are made of.

    Raises BudgetExceeded for one that takes more than its budget, and whatever fitting raises.
    """
    tampers: list[Tamper] = []
    made: list[dict[str, Any]] = []
    spent = asks.meter
    with ExitStack() as mounted:
        mounted.enter_context(mount(asks.subject, before, asks.store))
        for one in planned:
            safeguard = SAFEGUARDS.get(one["kind"])
            config = safeguard.Config.model_validate(one["config"], strict=False)
            asks.meter = Meter(_budget(one))
            fitted = asks.drive(safeguard.fit(context_of(asks.subject, one, folder), config))
            spent.charge(asks.meter.spend)
            mounted.enter_context(mount(asks.subject, fitted.tampers, asks.store))
            tampers += fitted.tampers
            provided = dict(fitted.provided)
            made.append({**one, "provided": provided, "artefact": provided.get("artefact")})
    asks.meter = spent
    return tuple(tampers), made


def _budget(one: Mapping[str, Any]) -> Budget:
    """Steps are bounded for each training run here, and for all of them before anything runs."""
    return Budget.model_validate(dict(one["budget"]), strict=False)
