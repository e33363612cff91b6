"""Fitting the safeguards of a subject, one after another on what the one before has left."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from threatspec.records import Budget
from threatspec.runners._asks import Asks
from threatspec.runners._guards import context_of, probabilities
from threatspec.safeguards import SAFEGUARDS
from threatspec.subjects import Request, Tamper, WeightTamper
from threatspec.subjects._mount import mount
from threatspec.training import Meter
from threatspec.training._dense import dense_weights

__all__ = ["fit", "merged"]

Received = Callable[[Sequence[Request]], Sequence[Request]]


def fit(
    asks: Asks,
    before: Sequence[Tamper],
    planned: Sequence[Mapping[str, Any]],
    folder: Path,
    *,
    repairs: bool = False,
    received: Received = list,
) -> tuple[tuple[Tamper, ...], list[dict[str, Any]]]:
    """Fit every safeguard of a plan on the subject of `asks`, which is given back bit-equal;
    `repairs`: on what an attack has left of it, asked as its provider would ask it (`received`).

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
            read = partial(_probabilities, asks, received)
            context = context_of(asks.subject, one, folder, read)
            context = replace(context, warn=asks.warnings.append)
            work = safeguard.repair if repairs else safeguard.fit
            fitted = asks.drive(work(context, config))
            spent.charge(asks.meter.spend)
            for tamper in fitted.tampers:
                released = merged(asks, tamper)
                mounted.enter_context(mount(asks.subject, (released,), asks.store))
                tampers.append(released)
            provided = dict(fitted.provided)
            made.append({**one, "provided": provided, "artefact": provided.get("artefact")})
    asks.meter = spent
    return tuple(tampers), made


def _probabilities(
    asks: Asks, received: Received, requests: Sequence[Request], artefact: str | None
) -> Any:
    """A threshold is set on what the screen will see: images that are purified before it."""
    return probabilities(asks.subject, asks.store, received(requests), artefact)


def merged(asks: Asks, tamper: WeightTamper) -> WeightTamper:
    """An adapter written into the weights of the subject as it is now: what is released has none,
    and whoever attacks it may put one of his own beside it."""
    if tamper.form != "adapter":
        return tamper
    tensors = dense_weights(asks.subject, tamper, asks.store)
    return WeightTamper(artefact=asks.store.save(tensors), form="dense")


def _budget(one: Mapping[str, Any]) -> Budget:
    """Steps are bounded for each training run here, and for all of them before anything runs."""
    return Budget.model_validate(dict(one["budget"]), strict=False)
