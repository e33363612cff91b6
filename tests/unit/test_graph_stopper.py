"""What settled cells leave without purpose: found trial by trial as if all were looked at anew."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.support.bundles import SUPPORTED, Says, breaks, holds, results_of
from tests.support.specs import Changes, plan_of
from threatspec.records import Arm, Cell, Marker, Plan, TrialResult, TrialStatus
from threatspec.runners import TrialGraph
from threatspec.runners._stopper import Stopper

BESIDE: Changes = {**SUPPORTED, "claims.0.counts_if": "utility >= 0.5 * undefended.utility"}
"""Attacked cells are read beside an untouched one."""


def everything(plan: Plan, chooser: random.Random, failures: float) -> dict[str, TrialResult]:
    """What each trial would give, if it were run."""
    found: dict[str, TrialResult] = {}
    for cell in plan.cells.values():
        says = chooser.choice([holds, holds, breaks])
        for result in results_of(plan, cell, says):
            broken = TrialResult(trial=result.trial, status=TrialStatus.ERROR, code="TS-X")
            found[result.trial] = broken if chooser.random() < failures else result
    return found


@pytest.mark.parametrize("failures", [0.0, 0.03])
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("changes", [SUPPORTED, BESIDE], ids=["alone", "beside"])
def test_every_trial_finds_what_looking_at_everything_finds(
    tmp_path: Path, changes: Changes, seed: int, failures: float
) -> None:
    plan = plan_of(tmp_path, changes)
    chooser = random.Random(seed)
    made = everything(plan, chooser, failures)
    marks: dict[str, bytes] = {}
    graph, marker = TrialGraph(plan, {}), Marker(plan)
    stopper, needless = Stopper(plan, graph.results, marks), set[str]()
    running = []
    while graph.has_ready() or running:
        while (trial := graph.take(None)) and len(running) < 4:
            running.append(trial)
        if trial:
            running.append(trial)
        result = made[running.pop(chooser.randrange(len(running))).id]
        graph.finish(result)
        if result.rows:
            marks.update(marker.of([result]))
            needless.update(stopper.needless(result.trial))
            assert needless == set(Stopper(plan, graph.results, marks).all_needless())
            graph.drop(needless)
    assert graph.finished == graph.total
    assert needless


def test_an_untouched_cell_that_comes_late_settles_what_was_read_beside_it(
    tmp_path: Path,
) -> None:
    beside = {**SUPPORTED, "claims.0.counts_if": "utility >= 0.99 * undefended.utility"}
    plan = plan_of(tmp_path, beside)
    [bare] = {claim.untouched[Arm.UNDEFENDED] for claim in plan.claims}
    results: dict[str, TrialResult] = {}
    marks: dict[str, bytes] = {}
    stopper, marker = Stopper(plan, results, marks), Marker(plan)

    def needless(cell: Cell, says: Says) -> list[str]:
        found = list(results_of(plan, cell, says))
        results.update({result.trial: result for result in found})
        marks.update(marker.of(found))
        return [name for result in found if result.rows for name in stopper.needless(result.trial)]

    others = [cell for cell in plan.cells.values() if cell.id != bare]
    assert not any(needless(cell, holds) for cell in others)
    found = needless(plan.cells[bare], lambda _cell, _item, _arm: "sorry i cannot")
    for claim in plan.claims:
        for name in claim.attacked[Arm.DEFENDED]:
            assert {trials[-1] for trials in plan.cells[name].measures.values()} <= set(found)
