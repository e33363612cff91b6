"""From results to evidence: units, what is missing, and what became of a cell."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from threatspec.claims import CellState, Tally, gather
from threatspec.claims._tally import tally
from threatspec.errors import ThreatspecError
from threatspec.records import (
    Cell,
    Execution,
    Outcome,
    Plan,
    PlannedMeasure,
    Row,
    Spend,
    Trial,
    TrialKind,
    TrialResult,
    TrialStatus,
)

YES, NO, UNSCORABLE, REJECTED, MISSING = Outcome
Cluster = Literal["any", "all"]


def rows(**clusters: list[Outcome]) -> list[Row]:
    return [
        Row(item=f"{name}-{n}", cluster=name, outcome=outcome)
        for name, outcomes in clusters.items()
        for n, outcome in enumerate(outcomes)
    ]


@pytest.mark.parametrize(
    ("outcomes", "any_of", "all_of"),
    [
        ([YES], "yes", "yes"),
        ([NO], "no", "no"),
        ([REJECTED], "no", "no"),
        ([MISSING], "unknown", "unknown"),
        ([UNSCORABLE], "unknown", "unknown"),
        ([YES, NO], "yes", "no"),
        ([YES, YES], "yes", "yes"),
        ([NO, NO], "no", "no"),
        ([YES, MISSING], "yes", "unknown"),
        ([NO, MISSING], "unknown", "no"),
        ([YES, NO, UNSCORABLE], "yes", "no"),
    ],
)
def test_a_cluster_is_one_unit(outcomes: list[Outcome], any_of: str, all_of: str) -> None:
    for cluster, expected in (("any", any_of), ("all", all_of)):
        found = tally(rows(c=outcomes), 1, cluster)  # type: ignore[arg-type]
        counts = {"yes": found.yes, "no": found.no, "unknown": found.unknown}
        assert counts == {"yes": 0, "no": 0, "unknown": 0, expected: 1}


def test_units_without_any_row_are_unknown() -> None:
    assert tally(rows(a=[YES], b=[NO]), 5, "any") == Tally(units=5, yes=1, unknown=3)
    assert tally((), 5, "any") == Tally(units=5, yes=0, unknown=5)


def test_a_prompt_without_a_row_may_change_its_cluster() -> None:
    found = rows(a=[NO], b=[YES])
    assert tally(found, 2, "any", prompts=4) == Tally(units=2, yes=1, unknown=1)
    assert tally(found, 2, "all", prompts=4) == Tally(units=2, yes=0, unknown=1)
    assert tally(found, 2, "any", prompts=2) == Tally(units=2, yes=1, unknown=0)


def test_a_row_read_twice_is_one_prompt() -> None:
    twice = [*rows(a=[NO], b=[NO]), *rows(a=[NO])]
    assert tally(twice, 2, "any", prompts=3).unknown == 1


def test_rows_that_the_plan_does_not_have_are_refused() -> None:
    with pytest.raises(ThreatspecError, match="TS-RECORDS"):
        tally(rows(a=[YES], b=[YES]), 1, "any")


OUTCOMES = st.lists(st.sampled_from(list(Outcome)), min_size=1, max_size=4)


@given(st.lists(OUTCOMES, min_size=1, max_size=6), st.sampled_from(["any", "all"]), st.data())
def test_losing_rows_widens_what_is_possible(
    clusters: list[list[Outcome]], cluster: Cluster, data: st.DataObject
) -> None:
    found = rows(**{f"c{n}": outcomes for n, outcomes in enumerate(clusters)})
    kept = [row for row in found if data.draw(st.booleans())]
    full = tally(found, len(clusters), cluster, len(found))
    less = tally(kept, len(clusters), cluster, len(found))
    assert less.yes <= full.yes
    assert less.yes + less.unknown >= full.yes + full.unknown


def test_bounds_take_the_unknown_at_their_worst() -> None:
    bounds = Tally(units=20, yes=5, unknown=3).bounds(0.05)
    assert bounds.lower == Tally(units=20, yes=5, unknown=0).bounds(0.05).lower
    assert bounds.upper == Tally(units=20, yes=8, unknown=0).bounds(0.05).upper
    assert Tally(units=20, yes=0, unknown=0).bounds(0.05).upper > 0.13


# --- cells


def a_plan(prompts: int = 2) -> Plan:
    measure = PlannedMeasure(
        id="m", benchmark="b", split="test", judge={}, span="continuation", cluster="any",
        prompts=prompts, units=2,
    )  # fmt: skip
    kinds = {"attack": TrialKind.ATTACK, "generate": TrialKind.GENERATE, "judge": TrialKind.JUDGE}
    needs = {"attack": (), "generate": ("attack",), "judge": ("generate",)}
    trials = {
        name: Trial(id=name, kind=kind, subject="s", needs=needs[name], work={})
        for name, kind in kinds.items()
    }
    cell = Cell(
        id="c", procedure="p", subject="s", replicate=0, seeds={}, attack="attack",
        measures={"asr": "judge"},
    )  # fmt: skip
    return Plan(
        spec_file="x.yaml", spec={}, execution=Execution(), digests={}, measures={"asr": measure},
        procedures={}, cells={"c": cell}, trials=trials, claims=(),
    )  # fmt: skip


def done(trial: str, **more: Any) -> TrialResult:
    return TrialResult(**{"trial": trial, "status": TrialStatus.DONE, **more})


def gathered(*results: TrialResult) -> Any:
    return gather(a_plan(), {result.trial: result for result in results})


ATTACKED = done("attack", spend=Spend(steps=3, flops=2.0))
JUDGED = done("judge", rows=tuple(rows(a=[YES], b=[NO])))


def test_a_cell_with_every_trial_is_done() -> None:
    evidence = gathered(ATTACKED, done("generate", spend=Spend(flops=9.0)), JUDGED)
    cell = evidence.cells["c"]
    assert cell.state is CellState.DONE
    assert cell.usable
    assert evidence.complete
    assert cell.tallies == {"asr": Tally(units=2, yes=1, unknown=0)}
    assert cell.spend == Spend(steps=3, flops=2.0)


def test_prompts_of_the_plan_that_were_not_read_are_unknown() -> None:
    results = {result.trial: result for result in (ATTACKED, done("generate"), JUDGED)}
    cell = gather(a_plan(prompts=4), results).cells["c"]
    assert cell.tallies == {"asr": Tally(units=2, yes=1, unknown=1)}


def test_a_cell_with_a_trial_to_come_is_not_run() -> None:
    evidence = gathered(ATTACKED, done("generate"))
    assert evidence.cells["c"].state is CellState.NOT_RUN
    assert not evidence.cells["c"].usable
    assert not evidence.complete


@pytest.mark.parametrize("status", [TrialStatus.ERROR, TrialStatus.TIMEOUT])
@pytest.mark.parametrize("trial", ["attack", "generate", "judge"])
def test_a_failed_trial_is_an_error_with_its_code(trial: str, status: TrialStatus) -> None:
    failed = done(trial, status=status, code="TS-TRIAL-TIMEOUT", message="too slow")
    before = [done(name) for name in ("attack", "generate", "judge")]
    cell = gathered(*before[: ["attack", "generate", "judge"].index(trial)], failed).cells["c"]
    assert (cell.state, cell.code, cell.message) == (
        CellState.ERROR,
        "TS-TRIAL-TIMEOUT",
        "too slow",
    )
    assert cell.tallies["asr"].unknown == 2


def test_an_attack_stopped_at_the_budget_is_over_budget_whatever_else_was_measured() -> None:
    stopped = done("attack", status=TrialStatus.OVER_BUDGET, code="TS-BUDGET-OVERRUN")
    cell = gathered(stopped, done("generate"), JUDGED).cells["c"]
    assert cell.state is CellState.OVER_BUDGET
    assert not cell.usable
