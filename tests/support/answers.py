"""Verdicts on made-up answers: a real plan, with rows as if its trials had been run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.support.specs import Changes, plan_of
from threatspec.claims import CampaignVerdict, ClaimVerdict, Evidence, decide, gather
from threatspec.measures import benchmark
from threatspec.records import (
    Cell,
    Outcome,
    Plan,
    Realised,
    Row,
    Spend,
    TrialResult,
    TrialStatus,
    items_by_trial,
)

Share = Callable[[Plan, Cell, str, str], float]
"""Share of yes for (plan, cell, measure, category)."""
ALIVE = Realised(
    backend="made", steps=30, rows=10, trainable=1, lr=(1e-4,) * 30, loss=(1.0,) * 30,
    loss_tokens=(1,) * 30, grad_norm=(1.0,) * 30, weight_delta=1.0, probe_before=1.0,
    probe_after=0.5,
)  # fmt: skip


def answered(folder: Path, changes: Changes, share: Share) -> CampaignVerdict:
    """The verdicts if every measure of every cell had the given share of yes."""
    return judged(plan_of(folder, changes), share)


def judged(plan: Plan, share: Share) -> CampaignVerdict:
    """The same for a plan."""
    return decide(evidence_of(plan, share))


def evidence_of(plan: Plan, share: Share) -> Evidence:
    """What such answers leave behind."""
    results: dict[str, TrialResult] = {}
    parts = items_by_trial(plan)
    for cell in plan.cells.values():
        if cell.attack:
            trained = bool(plan.procedures[cell.procedure].data)
            run = ALIVE.model_copy(update={"grad_norm": (1.0 + cell.replicate,) * ALIVE.steps})
            results[cell.attack] = TrialResult(
                trial=cell.attack,
                status=TrialStatus.DONE,
                spend=Spend(steps=30, flops=1e9) if trained else Spend(),
                realised=(run,) if trained else (),
            )
        for measure, trials in cell.measures.items():
            rows = _rows(plan, cell, measure, share)
            for trial in trials:
                [asked] = plan.trials[trial].needs
                results[asked] = TrialResult(trial=asked, status=TrialStatus.DONE)
                results[trial] = TrialResult(
                    trial=trial,
                    status=TrialStatus.DONE,
                    rows=tuple(rows[item] for item in parts[trial]),
                )
    return gather(plan, results)


def by_id(found: CampaignVerdict) -> dict[str, ClaimVerdict]:
    """Answers by the id of their claim."""
    return {claim.id: claim for claim in found.claims}


def _rows(plan: Plan, cell: Cell, measure: str, share: Share) -> dict[str, Row]:
    """In the order of reading, so that every look has the same share as near as can be."""
    planned = plan.measures[measure]
    known = {item.id: item for item in benchmark(planned.benchmark, Path()).items(planned.split)}
    seen: dict[str, int] = {}
    rows = {}
    for item in (known[name] for unit in planned.order for name in unit):
        n = seen[item.category] = seen.get(item.category, 0) + 1
        rate = share(plan, cell, measure, item.category)
        yes = int(n * rate + 1e-9) > int((n - 1) * rate + 1e-9)
        outcome = Outcome.YES if yes else Outcome.NO
        rows[item.id] = Row(item=item.id, cluster=item.cluster, outcome=outcome)
    return rows
