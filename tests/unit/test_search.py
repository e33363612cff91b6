"""Searches: what is tried follows from what was found, within the budget, and nothing is lost."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import threatspec as ts
from tests.support.specs import load, plan_of, problems_of
from threatspec.campaign._objective import breach, margin
from threatspec.campaign._search import Told, batch_of, best, planned_search, propose, size_of
from threatspec.records import Knob, Ledger, Spend, TrialKind, TrialStatus
from threatspec.schema import Operand, parse_predicate

RANGES = {
    "lr": Knob(low=1e-5, high=1e-2, log=True),
    "steps": Knob(low=10, high=100, log=True, integer=True),
    "schedule": Knob(choices=("constant", "linear", "cosine")),
}
GRID = {"lr": Knob(choices=(1e-4, 1e-3)), "steps": Knob(choices=(10, 30))}


def told_of(search: Any, count: int, seed: int = 3) -> list[Told]:
    """What a search was told if its objective were the rate's closeness to 1e-3."""
    told: list[Told] = []
    for index in range(count):
        proposal = propose(search, seed, index, told[: batch_of(search, index)])
        value = -abs(proposal["lr"] - 1e-3)
        told.append(
            Told(index, proposal, proposal, value, spend=Spend(flops=proposal.get("steps", 1)))
        )
    return told


def test_a_finite_space_is_tried_whole_and_once() -> None:
    search = planned_search(GRID, None, "once")
    assert (search.configurations, search.start) == (4, 4)
    found = [one.proposal for one in told_of(search, 4)]
    assert len({json.dumps(one) for one in found}) == 4


def test_a_range_is_filled_layer_by_layer() -> None:
    search = planned_search(RANGES, 24, "once")
    first = [one.proposal for one in told_of(search, search.start)]
    layers = {int(search.start * _share(one["lr"])) for one in first}
    assert len(layers) == search.start
    assert {one["schedule"] for one in first} == set(RANGES["schedule"].choices)


def _share(rate: float) -> float:
    return min(0.999999, math.log(rate / 1e-5) / math.log(1e3))


def test_proposals_stay_in_range_and_depend_on_earlier_batches_only() -> None:
    search = planned_search(RANGES, 16, "once")
    told = told_of(search, 16)
    for one in told:
        assert 1e-5 <= one.proposal["lr"] <= 1e-2
        assert 10 <= one.proposal["steps"] <= 100
    index = search.start + search.batch + 1
    before = told[: batch_of(search, index)]
    assert propose(search, 3, index, before) == told[index].proposal
    changed = [*before[:-1], Told(before[-1].index, before[-1].proposal, {}, 0.9)]
    assert propose(search, 3, index, changed) != told[index].proposal


def test_another_seed_tries_other_configurations() -> None:
    search = planned_search(RANGES, 8, "once")
    assert propose(search, 1, 0, ()) != propose(search, 2, 0, ())


def test_a_configuration_that_failed_is_told_too() -> None:
    search = planned_search(RANGES, 12, "once")
    told = told_of(search, search.start)
    failed = [Told(one.index, one.proposal, one.config) for one in told]
    assert best(failed) is None
    assert set(propose(search, 3, search.start, failed)) == set(RANGES)


def test_what_does_not_count_never_wins_over_what_does() -> None:
    collapsed = Told(0, {}, {}, value=0.9, margin=-0.1)
    modest = Told(1, {}, {}, value=-0.05, margin=0.2)
    assert best([collapsed, modest]) is modest
    assert best([collapsed]) is collapsed


def test_between_equals_the_cheaper_wins_then_the_earlier() -> None:
    dear, cheap = (
        Told(0, {}, {}, 0.5, spend=Spend(flops=2.0)),
        Told(1, {}, {}, 0.5, spend=Spend(flops=1.0)),
    )
    assert best([dear, cheap]) is cheap
    assert best([cheap, Told(2, {}, {}, 0.5, spend=Spend(flops=1.0))]) is cheap


def test_halving_trains_the_better_ones_on() -> None:
    space = {"lr": RANGES["lr"], "steps": Knob(choices=(10, 30, 90))}
    search = planned_search(space, 14, "once", 2)
    assert (search.start, search.configurations, search.rungs) == (8, 14, (10, 30, 90))
    told = told_of(search, 14)
    assert [one.proposal["steps"] for one in told] == [10] * 8 + [30] * 4 + [90] * 2
    ranked = sorted(told[:8], key=lambda one: one.rank, reverse=True)
    assert [one.proposal["lr"] for one in told[8:12]] == [one.proposal["lr"] for one in ranked[:4]]


@pytest.mark.parametrize(
    ("space", "count", "halving", "says"),
    [
        ({"lr": Knob(choices=(1e-3,))}, 5, None, "something to vary"),
        ({"lr": RANGES["lr"]}, None, None, "must have an end"),
        ({"lr": RANGES["lr"]}, 1, None, "2 configurations"),
        (GRID, 1, 2, "room for 1"),
        ({"lr": RANGES["lr"]}, 9, 2, "list of `steps`"),
    ],
)
def test_a_search_that_cannot_be_made_says_why(
    space: dict[str, Knob], count: int | None, halving: int | None, says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        planned_search(space, count, "once", halving)


# the objective


def rates(**known: float) -> Any:
    def rate(operand: Operand) -> float:
        return known[f"{operand.arm}_{operand.measure}" if operand.arm else operand.measure]

    return rate


def test_the_objective_is_how_far_the_claim_is_missed() -> None:
    holds = parse_predicate("asr <= 0.10 and utility >= 0.5 * undefended.utility")
    rate = rates(asr=0.4, utility=0.9, undefended_utility=1.0)
    assert margin(holds, rate) == pytest.approx(-0.3)
    assert breach(holds, rate, "every") == pytest.approx(0.3)
    assert breach(holds, rate, "some") == pytest.approx(-0.3)


@given(st.floats(0, 1), st.floats(0, 1))
def test_more_success_is_never_a_smaller_breach(low: float, high: float) -> None:
    holds = parse_predicate("asr <= 0.10")
    values = [breach(holds, rates(asr=rate), "every") for rate in sorted((low, high))]
    assert values == sorted(values)


def test_the_size_of_a_space() -> None:
    assert size_of(GRID) == 4
    assert size_of(RANGES) == float("inf")


# planned and run

SEARCHED = {
    "adversaries.tuner.attacks": [
        {"use": "full-finetune", "lr": [1e-5, 3e-4], "steps": [2, 10], "batch_size": 10}
    ],
    "adversaries.tuner.compute": {"steps": 10, "flops": "5e11 FLOP", "configurations": 4},
}


def test_every_arm_gets_the_same_number_of_configurations(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, SEARCHED)
    tried: dict[str, int] = {}
    for trial in plan.trials.values():
        if trial.kind is TrialKind.ATTACK and "index" in trial.work["search"]:
            tried[trial.subject] = tried.get(trial.subject, 0) + 1
            assert trial.work["search"]["plan"]["configurations"] == 4
    assert len(tried) > 1
    assert set(tried.values()) == {4}
    splits = {t.work["split"] for t in plan.trials.values() if t.kind is TrialKind.GENERATE}
    assert splits == {"attack_dev", "test"}


def test_rows_of_the_split_that_is_searched_on_are_refused(tmp_path: Path) -> None:
    changes = {
        **SEARCHED,
        "adversaries.tuner.data": {"harmful": {"n": 5, "from": "specimen/restricted#attack_dev"}},
    }
    [problem] = problems_of(tmp_path, changes)
    assert (problem.code, problem.path) == ("TS-SEARCH", "adversaries.tuner.data.harmful.from")


def test_a_value_that_is_listed_twice_is_tried_once(tmp_path: Path) -> None:
    attack = {"use": "full-finetune", "lr": [1e-3, 1e-3], "steps": 2}
    [problem] = problems_of(tmp_path, {"adversaries.tuner.attacks": [attack]})
    assert (problem.code, problem.path) == ("TS-SEARCH", "adversaries.tuner.attacks[0]")


@pytest.mark.parametrize(
    ("limits", "attack"),
    [
        ({"rank_max": 8}, {"use": "lora-finetune", "rank": [4, 64]}),
        ({"sparsity_max": 0.05}, {"use": "snip-prune", "share": [0.01, 0.5]}),
    ],
)
def test_limits_bind_everything_that_a_search_may_try(
    tmp_path: Path, limits: dict[str, Any], attack: dict[str, Any]
) -> None:
    changes = {"adversaries.tuner.limits": limits, "adversaries.tuner.attacks": [attack]}
    [problem] = problems_of(tmp_path, changes)
    assert problem.code == "TS-BUDGET"


def test_values_that_read_other_scores_are_entries_of_their_own(tmp_path: Path) -> None:
    data = {"n": 8, "from": "specimen/benign#attack_train"}
    changes = {
        "adversaries.tuner.data.benign": data,
        "adversaries.tuner.attacks": [{"use": "set-difference", "score": ["snip", "wanda"]}],
    }
    [problem] = problems_of(tmp_path, changes)
    assert problem.code == "TS-SEARCH"
    assert "the same scores" in problem.message


def test_a_search_must_not_read_what_the_verdict_reads(tmp_path: Path) -> None:
    changes = {**SEARCHED, "measures.asr.split": "attack_dev"}
    [problem] = problems_of(tmp_path, changes)
    assert (problem.code, problem.path) == ("TS-SEARCH", "measures.asr.split")


def test_epochs_are_searched_as_the_steps_that_they_take(tmp_path: Path) -> None:
    attack = {"use": "full-finetune", "epochs": [1, 3], "lr": 1e-4}
    plan = plan_of(tmp_path, {"adversaries.tuner.attacks": [attack]})
    [procedure] = plan.procedures.values()
    assert procedure.search is not None
    assert set(procedure.search.space) == {"epochs"}
    [problem] = problems_of(
        tmp_path, {"adversaries.tuner.attacks": [{**attack, "epochs": [1, 99]}]}
    )
    assert problem.code == "TS-BUDGET"


def test_more_configurations_than_the_budget_has_are_tried_in_part(tmp_path: Path) -> None:
    changes = {**SEARCHED, "adversaries.tuner.compute": {"steps": 10, "configurations": 3}}
    [procedure] = plan_of(tmp_path, changes).procedures.values()
    assert procedure.search is not None
    assert procedure.search.configurations == 3


def test_steps_beyond_the_budget_are_refused(tmp_path: Path) -> None:
    changes = {**SEARCHED, "adversaries.tuner.compute": {"steps": 5, "configurations": 4}}
    [problem] = problems_of(tmp_path, changes)
    assert (problem.code, problem.path) == ("TS-BUDGET", "adversaries.tuner.attacks[0]")


def test_a_search_is_charged_frozen_and_kept(tmp_path: Path) -> None:
    outcome = ts.run(load(tmp_path, SEARCHED), out=tmp_path / "out")
    plan, evidence = outcome.evidence.plan, outcome.evidence
    cells = [c for c in evidence.cells.values() if c.cell.attack]
    with Ledger.open(tmp_path / "out") as ledger:
        results = ledger.results()
    assert all(result.status is TrialStatus.DONE for result in results.values())
    for cell in cells:
        winner = plan.trials[cell.cell.attack or ""]
        tried = [results[name] for name in winner.history if name in results
                 and plan.trials[name].kind is TrialKind.ATTACK]  # fmt: skip
        assert len(tried) == 4
        chosen = cell.config
        assert chosen is not None
        assert {(r.config or {})["lr"] for r in tried} == {1e-5, 3e-4}
        assert chosen in [r.config for r in tried]
        charged = winner.work["search"]["charged"]
        own = results[winner.id].spend.flops
        total = own + (sum(r.spend.flops for r in tried) if charged else 0)
        assert cell.spend.flops == pytest.approx(total)
        if winner.budget and winner.budget.flops:
            assert cell.spend.flops <= winner.budget.flops
