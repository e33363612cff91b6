"""Is what was spent inside the budget, and what training of that kind costs?"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from threatspec.attacks.recipes import RECIPES, rows_out
from threatspec.errors import ThreatspecError
from threatspec.records import (
    Budget,
    Cell,
    Procedure,
    Realised,
    Trial,
    TrialKind,
    TrialResult,
    TrialStatus,
)
from threatspec.reports.bundle._checks import Check, Status, found, unknown
from threatspec.reports.bundle._matter import Matter
from threatspec.subjects import SubjectCard, describe
from threatspec.training import training_flops
from threatspec.training.classifiers._spend import classifier_spend

__all__ = ["spend_checks"]

_SLACK = 1e-6
"""Relative; numbers are sums of floats."""
_HERE = ("specimen:", "gguf:")
"""Models whose size can be looked up without a network and without reading what a bundle names."""


def spend_checks(matter: Matter) -> Iterator[Check]:
    """Whatever can be said of spend and realised training."""
    text = "recorded and realised spend is inside the budget of every trial"
    yield found("spend", _over(matter), text)
    text = "steps add up, and learning rates and steps are at most what was configured"
    yield found("training", _trained(matter), text)
    yield _flops(matter)


def _attacks(matter: Matter) -> Iterator[tuple[Trial, TrialResult]]:
    for trial, result in matter.bundle.results.items():
        planned = matter.plan.trials[trial]
        if planned.kind is TrialKind.ATTACK:
            yield planned, result


# budgets


def _over(matter: Matter) -> Iterator[str]:
    for trial, result in _attacks(matter):
        budget, spend = trial.budget or Budget(), result.spend
        steps = max((run.steps for run in result.realised), default=0)
        if min(spend.steps, spend.tokens, spend.flops, spend.seconds) < 0:
            yield f"{trial.id} has spent less than nothing"
        if budget.steps is not None and steps > budget.steps:
            yield f"{trial.id} made {steps} steps in a run where {budget.steps} are allowed"
        if budget.flops is not None and spend.flops > budget.flops:
            yield f"{trial.id} spent {spend.flops:.4g} FLOPs where {budget.flops:.4g} are allowed"


# training


def _trained(matter: Matter) -> Iterator[str]:
    plan = matter.plan
    made = {cell.attack: cell for cell in plan.cells.values() if cell.attack}
    classifiers = {ref for c in plan.claims if c.classifies for ref in c.models.values()}
    for trial, result in _attacks(matter):
        if result.status is TrialStatus.DONE:
            sees = trial.subject in classifiers
            yield from (f"{trial.id} {fault}" for fault in _as_recorded(trial, result, sees))
            if trial.id in made:
                told = _as_planned(matter, made[trial.id], result)
                yield from (f"{trial.id} {fault}" for fault in told)


def _as_planned(matter: Matter, cell: Cell, result: TrialResult) -> Iterator[str]:
    procedure = matter.plan.procedures[cell.procedure]
    own = sum(entry["n"] for entry in procedure.data.values())
    rows = _made(procedure, own)
    if matter.provides(cell) is not False:
        rows += matter.own_rows(cell)
    for run in result.realised:
        if run.backend != procedure.trainer:
            yield f"was trained by {run.backend!r} instead of {procedure.trainer!r}"
        if run.rows > rows:
            yield f"trained on {run.rows} rows where the adversary has {rows}"


def _made(procedure: Procedure, rows: int) -> int:
    """How many training rows come out of the adversary's at most, by the recipes of an attack."""
    configs = procedure.config.get("links") or [{"config": procedure.config}]
    found = [one["config"].get("recipe") for one in configs]
    known = [recipe for recipe in found if recipe and recipe["use"] in RECIPES.names()]
    return max((_out(recipe, rows) for recipe in known), default=rows)


def _out(recipe: dict[str, Any], rows: int) -> int:
    config = RECIPES.get(recipe["use"]).Config.model_validate(recipe, strict=False)
    return max(rows, rows_out(config, rows))


def _as_recorded(trial: Trial, result: TrialResult, sees: bool) -> Iterator[str]:
    """`sees`: its subject is a classifier, which reads images in the place of tokens."""
    steps = sum(run.steps for run in result.realised)
    sought = sum(one.steps for one in result.optimised if one.of == "pixels")
    if result.spend.steps != steps + sought:
        yield f"spent {result.spend.steps} steps, but made {steps + sought}"
    if not sees and result.spend.tokens < sum(sum(run.loss_tokens) for run in result.realised):
        yield "read fewer tokens than it learned from"
    if steps and not result.spend.flops > 0:
        yield "trained without spending anything"
    found = trial.work.get("config")
    config = result.config or (found if isinstance(found, dict) else {})
    for run in result.realised:
        yield from _within(config, run)


def _within(config: dict[str, object], run: Realised) -> Iterator[str]:
    series = {len(run.lr), len(run.loss), len(run.loss_tokens), len(run.grad_norm)}
    if series != {run.steps}:
        yield f"made {run.steps} steps, but does not say so of every step"
    peak, limit = max(run.lr, default=0.0), config.get("lr")
    if isinstance(limit, (int, float)) and peak > limit * (1 + _SLACK):
        yield f"reached a learning rate of {peak:g}, but {limit:g} is configured"
    most = config.get("steps")
    if isinstance(most, int) and run.steps > most:
        yield f"made {run.steps} steps, but {most} are configured"


# FLOPs


def _flops(matter: Matter) -> Check:
    """Tokens and size fix FLOPs up to the length of a sequence, which the context bounds."""
    faults, strange, seen = [], [], 0
    for trial, result in _attacks(matter):
        if not result.realised or result.status is not TrialStatus.DONE:
            continue
        card = _card(trial.subject)
        if card is None or card.digest != matter.plan.digests.get(trial.subject):
            strange.append(trial.subject)
            continue
        seen += 1
        faults += [f"{trial.id} {fault}" for fault in _unlike(card, trial, result)]
    faults += _unpaired(matter)
    check = found("FLOPs", faults, f"FLOPs of {seen} attacks are what their tokens cost")
    if check.status is Status.FAIL or not strange:
        return check
    names = ", ".join(dict.fromkeys(strange))
    return unknown("FLOPs", f"the size of {names} is not known here, so FLOPs cannot be worked out")


def _unlike(card: SubjectCard, trial: Trial, result: TrialResult) -> Iterator[str]:
    """Beside what reading its prompts took, if it is one of a search."""
    if card.classes:
        yield from _unlike_images(card, result)
        return
    spend, search = result.spend, trial.work.get("search", {})
    flops = spend.flops - (search["reading"] if "index" in search else 0.0)
    beside = max(run.trainable for run in result.realised)
    whole = any(run.trainable + run.frozen >= card.parameters for run in result.realised)
    own = None if whole else beside
    low, high = (training_flops(card, spend.tokens, n, own) for n in (1, card.context))
    if not low * (1 - _SLACK) <= flops <= high * (1 + _SLACK):
        yield (
            f"spent {flops:.4g} FLOPs on {spend.tokens} tokens, which cost from {low:.4g} to "
            f"{high:.4g}"
        )


def _unlike_images(card: SubjectCard, result: TrialResult) -> Iterator[str]:
    """Images take three passes each where they are trained on; what was searched or edited beside
    that comes on top."""
    images = sum(sum(run.loss_tokens) for run in result.realised)
    least, flops = classifier_spend(card, 1, images).flops, result.spend.flops
    more = bool(result.optimised or result.edits)
    if flops < least * (1 - _SLACK) or (flops > least * (1 + _SLACK) and not more):
        yield f"spent {flops:.4g} FLOPs on {images} images, which cost {least:.4g}"


def _unpaired(matter: Matter) -> Iterator[str]:
    """The same replicate trains on the same rows on every arm, and specimens share their words;
    where a provider has a say, rows may be others."""
    known: dict[tuple[str, int, str], tuple[str, tuple[object, ...]]] = {}
    for cell in matter.plan.cells.values():
        result = matter.done.get(cell.attack or "")
        if result is None or not result.realised or not cell.subject.startswith("specimen:"):
            continue
        if matter.provides(cell) is not False:
            continue
        chosen = f"{sorted(cell.seeds.items())} {result.config}"  # searches end apart on each arm
        key = (cell.procedure, cell.replicate, chosen)
        spent = (result.spend.tokens, result.spend.flops, *(r.loss_tokens for r in result.realised))
        other, theirs = known.setdefault(key, (matter.name(cell), spent))
        if spent != theirs:
            yield f"{matter.name(cell)} and {other} trained on the same rows at another cost"


@cache
def _card(ref: str) -> SubjectCard | None:
    if not ref.startswith(_HERE):
        return None
    try:
        return describe(ref)
    except ThreatspecError:
        return None
