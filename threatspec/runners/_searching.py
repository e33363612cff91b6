"""A searched attack when it runs: what to try, within what is left of the adversary's budget."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from threatspec.attacks import Attack, AttackConfig, DataCard
from threatspec.campaign import search_seed
from threatspec.campaign._entries import with_knobs
from threatspec.campaign._objective import breach, margin
from threatspec.campaign._search import Told, batch_of, best, propose
from threatspec.errors import ThreatspecError
from threatspec.measures import DEV_SPLIT, benchmark
from threatspec.records import (
    Budget,
    Outcome,
    Row,
    Search,
    Spend,
    Trial,
    TrialResult,
    TrialStatus,
    Tried,
)
from threatspec.schema import Operand, parse_predicate
from threatspec.subjects import SubjectCard

__all__ = ["Chosen", "choose"]


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a searched attack does."""

    config: AttackConfig
    proposal: dict[str, Any]
    budget: Budget | None
    reading: Spend
    """Of asking the `attack_dev` prompts: part of what the search spends."""
    tried: tuple[Tried, ...] = ()
    """Of a winner: everything it was chosen from."""


def choose(
    trial: Trial,
    attack: Attack,
    inputs: Mapping[str, TrialResult],
    card: SubjectCard,
    data: DataCard | None,
    folder: Path,
) -> Chosen:
    """The configuration to try, or the winner; steps are cut to the share of the budget.

    Raises ThreatspecError TS-SEARCH if no configuration was measured.
    """
    work = trial.work["search"]
    search = Search.model_validate(work["plan"], strict=False)
    told = _Reader(work, inputs, folder).told()
    left = _left(trial.budget, told if work.get("charged", True) else ())
    if "index" not in work:
        return _winner(trial, attack, told, left)
    proposal = propose(search, search_seed(work["root"], work["run"]), work["index"], told)
    preset = attack.Config.model_validate(trial.work["config"], strict=False)
    config = with_knobs(attack, preset, proposal).settled(data.rows if data else 0)
    reading = Spend(flops=work["reading"])
    open_ = search.configurations - batch_of(search, work["index"])
    return _fitted(attack, config, proposal, left, open_, reading, card, data)


def _winner(trial: Trial, attack: Attack, told: Sequence[Told], left: Budget | None) -> Chosen:
    found = best(told)
    if found is None:
        text = f"a search must measure one configuration at least, but none of {len(told)} was"
        raise ThreatspecError("TS-SEARCH", text)
    config = attack.Config.model_validate(dict(found.config), strict=False)
    return Chosen(config, {}, left, Spend(), tuple(map(_tried, told)))


def _tried(one: Told) -> Tried:
    config = {**one.proposal, **{k: v for k, v in one.config.items() if k in one.proposal}}
    return Tried(config=config, value=one.value, counts=one.margin >= 0, spend=one.spend)


def _left(budget: Budget | None, told: Iterable[Told]) -> Budget | None:
    """What earlier configurations left of the totals; steps bound each run."""
    spent, left = sum((one.spend for one in told), Spend()), dict[str, float]()
    if budget is None:
        return None
    if budget.flops is not None:
        left["flops"] = budget.flops - spent.flops
    if budget.queries is not None:
        left["queries"] = budget.queries - spent.queries
    return budget.model_copy(update=left)


def _fitted(
    attack: Attack,
    config: AttackConfig,
    proposal: dict[str, Any],
    left: Budget | None,
    open_: int,
    reading: Spend,
    card: SubjectCard,
    data: DataCard | None,
) -> Chosen:
    """Every configuration that is still to come, and the final run, has an equal share."""
    bounds = ("flops", "queries")
    shares = {n: most / (open_ + 1) for n in bounds if (most := getattr(left, n, None)) is not None}
    if left is None or not shares:
        return Chosen(config, proposal, left, reading)
    kept = {**shares, **{n: int(shares[n]) for n in shares if n == "queries"}}
    chosen = Chosen(config, proposal, left.model_copy(update=kept), reading)
    for _ in range(16):
        over = _overrun(attack.cost(card, chosen.config, data), reading, kept)
        steps = getattr(chosen.config, "steps", None)
        if over <= 1 or not steps or steps == 1:
            return chosen
        fewer = max(1, min(steps - 1, int(steps / over)))
        values = {**chosen.config.model_dump(mode="json"), "steps": fewer}
        chosen = replace(chosen, config=type(config).model_validate(values, strict=False))
    return chosen


def _overrun(cost: Spend, reading: Spend, shares: Mapping[str, float]) -> float:
    """How many times what is left of the shares a run would take."""
    taken = {name: getattr(cost, name) for name in shares}
    left = {name: share - getattr(reading, name) for name, share in shares.items()}
    ratios = [taken[n] / left[n] if left[n] > 0 else math.inf for n in shares if taken[n]]
    return max(ratios, default=0.0 if all(value >= 0 for value in left.values()) else math.inf)


class _Reader:
    """Reads what a search was told from the results of its trials."""

    def __init__(
        self, work: Mapping[str, Any], inputs: Mapping[str, TrialResult], folder: Path
    ) -> None:
        self.work, self.inputs, self.folder = work, inputs, folder
        self.holds = parse_predicate(work["holds"])
        self.counts_if = parse_predicate(work["counts_if"]) if work["counts_if"] else None

    def told(self) -> tuple[Told, ...]:
        """Every configuration of earlier batches; one that failed has no value."""
        found = enumerate(self.work["told"])
        return tuple(one for index, entry in found if (one := self._one(index, entry)))

    def _one(self, index: int, entry: Mapping[str, Any]) -> Told | None:
        attack = self.inputs.get(entry["attack"])
        if attack is None or attack.proposal is None:
            return None
        told = Told(index, attack.proposal, attack.config or {}, spend=attack.spend)
        judged = {name: self.inputs.get(trial) for name, trial in entry["read"].items()}
        if any(one is None or one.status is not TrialStatus.DONE for one in judged.values()):
            return told
        rows = {name: one.rows for name, one in judged.items() if one is not None}

        def rate(operand: Operand) -> float:
            return self._rate(operand, rows)

        value = breach(self.holds, rate, self.work["quantifier"])
        counts = margin(self.counts_if, rate) if self.counts_if else 0.0
        return replace(told, value=value, margin=counts)

    def _rate(self, operand: Operand, rows: Mapping[str, Sequence[Row]]) -> float:
        name = f"{operand.arm}.{operand.measure}"
        read = self.inputs[self.work["arms"][name]].rows if operand.arm else rows[operand.measure]
        if operand.slice:
            wanted = self._slice(operand)
            read = [row for row in read if row.item in wanted]
        return sum(row.outcome is Outcome.YES for row in read) / max(1, len(read))

    def _slice(self, operand: Operand) -> set[str]:
        key, _, value = (operand.slice or "").partition("=")
        items = benchmark(self.work["measures"][operand.measure], self.folder).items(DEV_SPLIT)
        return {item.id for item in items if item.all_slices.get(key) == value}
