"""From results to evidence: units, what is missing, and what became of a cell."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from threatspec.claims import Basis, CellState, Tally, gather
from threatspec.errors import ThreatspecError
from threatspec.records import (
    Budget,
    Cell,
    Execution,
    Outcome,
    Plan,
    PlannedMeasure,
    PlannedSlice,
    Row,
    Spend,
    Trial,
    TrialKind,
    TrialResult,
    TrialStatus,
)

YES, NO, UNSCORABLE, REJECTED, MISSING = Outcome
Cluster = Literal["any", "all"]
Order = tuple[tuple[str, ...], ...]


def a_plan(
    order: Order = (("a-0",), ("b-0",)),
    cluster: Cluster = "any",
    looks: tuple[int, ...] = (),
    budget: Budget | None = None,
    **slices: tuple[str, ...],
) -> Plan:
    """One attacked cell with one measure; by default it is read at once."""
    looks = looks or (len(order),)
    measure = PlannedMeasure(
        id="m", benchmark="b", split="test", judge={}, span="continuation", cluster=cluster,
        prompts=sum(map(len, order)), units=len(order), exact=True, order=order, looks=looks,
        slices={f"category={k}": PlannedSlice(items=v, units=len(v)) for k, v in slices.items()},
    )  # fmt: skip
    trials = [Trial(id="attack", kind=TrialKind.ATTACK, subject="s", needs=(), work={},
                    budget=budget)]  # fmt: skip
    for n in range(len(looks)):
        trials += [
            Trial(id=f"generate-{n}", kind=TrialKind.GENERATE, subject="s", needs=("attack",),
                  work={}),
            Trial(id=f"judge-{n}", kind=TrialKind.JUDGE, subject="s", needs=(f"generate-{n}",),
                  work={}),
        ]  # fmt: skip
    cell = Cell(
        id="c", procedure="p", subject="s", replicate=0, seeds={}, attack="attack",
        measures={"asr": tuple(f"judge-{n}" for n in range(len(looks)))},
    )  # fmt: skip
    return Plan(
        spec_file="x.yaml", spec={}, execution=Execution(), digests={}, measures={"asr": measure},
        procedures={}, cells={"c": cell}, trials={t.id: t for t in trials}, claims=(),
    )  # fmt: skip


def done(trial: str, **more: Any) -> TrialResult:
    return TrialResult(**{"trial": trial, "status": TrialStatus.DONE, **more})


def gathered(*results: TrialResult, plan: Plan | None = None) -> Any:
    return gather(plan or a_plan(), {result.trial: result for result in results})


def rows(**clusters: list[Outcome]) -> tuple[Row, ...]:
    return tuple(
        Row(item=f"{name}-{n}", cluster=name, outcome=outcome)
        for name, outcomes in clusters.items()
        for n, outcome in enumerate(outcomes)
    )


def tally(found: tuple[Row, ...], order: Order, cluster: Cluster = "any") -> Tally:
    evidence = gathered(done("judge-0", rows=found), plan=a_plan(order, cluster))
    tallied: Tally = evidence.cells["c"].tallies["asr"]
    return tallied


def order_of(*sizes: int) -> Order:
    return tuple(tuple(f"c{n}-{i}" for i in range(size)) for n, size in enumerate(sizes))


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
        found = tally(rows(c0=outcomes), order_of(len(outcomes)), cluster)  # type: ignore[arg-type]
        counts = {"yes": found.yes, "no": found.no, "unknown": found.unknown}
        assert counts == {"yes": 0, "no": 0, "unknown": 0, expected: 1}


def test_units_without_any_row_are_unknown() -> None:
    some = tally(rows(c0=[YES], c1=[NO]), order_of(1, 1, 1, 1, 1))
    assert some == Tally(units=5, yes=1, unknown=3)
    assert tally((), order_of(1, 1)) == Tally(units=2, yes=0, unknown=2)


def test_a_prompt_without_a_row_may_change_its_cluster() -> None:
    found = rows(c0=[NO], c1=[YES])
    assert tally(found, order_of(2, 2), "any") == Tally(units=2, yes=1, unknown=1)
    assert tally(found, order_of(2, 2), "all") == Tally(units=2, yes=0, unknown=1)
    assert tally(found, order_of(1, 1), "any") == Tally(units=2, yes=1, unknown=0)


def test_rows_that_the_plan_does_not_have_are_refused() -> None:
    with pytest.raises(ThreatspecError, match="TS-RECORDS"):
        tally(rows(c0=[YES], c1=[YES]), order_of(1))
    with pytest.raises(ThreatspecError, match="TS-RECORDS"):
        gathered(done("generate-0", rows=rows(a=[YES])))


def test_a_slice_counts_its_own_prompts_alone() -> None:
    plan = a_plan(order_of(1, 2, 1), "any", fire=("c1-1", "c2-0"))
    found = rows(c0=[YES], c1=[YES, NO], c2=[YES])
    evidence = gathered(done("judge-0", rows=found), plan=plan)
    assert evidence.cells["c"].tallies["asr[category=fire]"] == Tally(units=2, yes=1, unknown=0)


OUTCOMES = st.lists(st.sampled_from(list(Outcome)), min_size=1, max_size=4)


@given(st.lists(OUTCOMES, min_size=1, max_size=6), st.sampled_from(["any", "all"]), st.data())
def test_losing_rows_widens_what_is_possible(
    clusters: list[list[Outcome]], cluster: Cluster, data: st.DataObject
) -> None:
    found = rows(**{f"c{n}": outcomes for n, outcomes in enumerate(clusters)})
    kept = [row for row in found if data.draw(st.booleans())]
    order = order_of(*map(len, clusters))
    full, less = tally(found, order, cluster), tally(tuple(kept), order, cluster)
    assert less.yes <= full.yes
    assert less.yes + less.unknown >= full.yes + full.unknown


def test_bounds_take_the_unknown_at_their_worst() -> None:
    bounds = Tally(units=20, yes=5, unknown=3).bounds(0.05)
    assert bounds.lower == Tally(units=20, yes=5, unknown=0).bounds(0.05).lower
    assert bounds.upper == Tally(units=20, yes=8, unknown=0).bounds(0.05).upper
    assert Tally(units=20, yes=0, unknown=0).bounds(0.05).upper > 0.13


ATTACKED = done("attack", spend=Spend(steps=3, flops=2.0))
JUDGED = done("judge-0", rows=rows(a=[YES], b=[NO]))


def test_a_cell_with_every_trial_is_done() -> None:
    evidence = gathered(ATTACKED, done("generate-0", spend=Spend(flops=9.0)), JUDGED)
    cell = evidence.cells["c"]
    assert cell.state is CellState.DONE
    assert cell.usable
    assert cell.tallies == {"asr": Tally(units=2, yes=1, unknown=0)}
    assert cell.spend == Spend(steps=3, flops=2.0)


def test_a_cell_with_a_trial_to_come_is_not_run() -> None:
    evidence = gathered(ATTACKED, done("generate-0"))
    assert evidence.cells["c"].state is CellState.NOT_RUN
    assert not evidence.cells["c"].usable


@pytest.mark.parametrize("status", [TrialStatus.ERROR, TrialStatus.TIMEOUT])
@pytest.mark.parametrize("trial", ["attack", "generate-0", "judge-0"])
def test_a_failed_trial_is_an_error_with_its_code(trial: str, status: TrialStatus) -> None:
    failed = done(trial, status=status, code="TS-TRIAL-TIMEOUT", message="too slow")
    before = [done(name) for name in ("attack", "generate-0", "judge-0")]
    cell = gathered(*before[: ["attack", "generate-0", "judge-0"].index(trial)], failed).cells["c"]
    assert (cell.state, cell.code, cell.message) == (
        CellState.ERROR,
        "TS-TRIAL-TIMEOUT",
        "too slow",
    )
    assert cell.tallies["asr"].unknown == 2


def test_an_attack_stopped_at_the_budget_is_over_budget_whatever_else_was_measured() -> None:
    stopped = done("attack", status=TrialStatus.OVER_BUDGET, code="TS-BUDGET-OVERRUN")
    cell = gathered(stopped, done("generate-0"), JUDGED).cells["c"]
    assert cell.state is CellState.OVER_BUDGET
    assert not cell.usable


def test_spend_beyond_the_budget_is_over_budget_whatever_the_record_says() -> None:
    plan = a_plan(budget=Budget(steps=2))
    assert gathered(ATTACKED, done("generate-0"), JUDGED, plan=plan).cells["c"].state is (
        CellState.OVER_BUDGET
    )
    plan = a_plan(budget=Budget(steps=3, flops=2.0))
    assert gathered(ATTACKED, done("generate-0"), JUDGED, plan=plan).cells["c"].usable


# --- cells that are read until they are settled


LOOKED = a_plan(order_of(1, 1, 2), looks=(1, 2, 3))
FIRST = (ATTACKED, done("generate-0"), done("judge-0", rows=rows(c0=[YES])))


def test_a_cell_is_seen_as_it_stood_at_each_look() -> None:
    second = (done("generate-1"), done("judge-1", rows=rows(c1=[NO])))
    evidence = gathered(*FIRST, *second, plan=LOOKED)
    one, two, three = evidence.read("c")
    assert [cell.state for cell in (one, two, three)] == [
        CellState.DONE, CellState.DONE, CellState.NOT_RUN,
    ]  # fmt: skip
    assert one.tallies["asr"] == Tally(units=1, yes=1, unknown=0, basis=Basis.SEQUENTIAL)
    assert two.tallies["asr"] == Tally(units=2, yes=1, unknown=0, basis=Basis.SEQUENTIAL)
    assert three.tallies["asr"] == Tally(units=3, yes=1, unknown=1, basis=Basis.SEQUENTIAL)
    assert evidence.cells["c"] is three


def test_a_look_that_failed_is_unknown_and_those_after_it_count() -> None:
    failed = done("generate-1", status=TrialStatus.ERROR, code="TS-TRIAL-ERROR")
    third = (done("generate-2"), done("judge-2", rows=rows(c2=[YES, NO])))
    last = gathered(*FIRST, failed, *third, plan=LOOKED).cells["c"]
    assert last.state is CellState.ERROR
    assert last.tallies["asr"] == Tally(units=3, yes=2, unknown=1, basis=Basis.SEQUENTIAL)


def test_bounds_of_a_cell_that_may_stop_early_are_wider() -> None:
    fixed = Tally(units=200, yes=8, unknown=0)
    growing = Tally(units=200, yes=8, unknown=0, basis=Basis.SEQUENTIAL)
    assert growing.bounds(0.05).lower < fixed.bounds(0.05).lower
    assert growing.bounds(0.05).upper > fixed.bounds(0.05).upper
    exactly = Tally(units=200, yes=8, unknown=2, basis=Basis.ENUMERATED).bounds(0.05)
    assert (exactly.lower, exactly.upper) == (0.04, 0.05)


@pytest.mark.parametrize("basis", [Basis.FIXED, Basis.SEQUENTIAL])
@pytest.mark.parametrize(("yes", "unknown"), [(0, 0), (3, 2), (30, 0), (60, 5), (99, 1)])
def test_the_formula_of_p_is_the_bounds_turned_round(basis: Basis, yes: int, unknown: int) -> None:
    found = Tally(units=100, yes=yes, unknown=unknown, basis=basis)
    for limit in (0.05, 0.2, 0.5, 0.9):
        above, below = found.p_above(limit), found.p_below(limit)
        assert above is not None
        assert below is not None
        for p, exceeds in ((above, True), (below, False)):
            for level in (0.9 * p, 1.1 * p):
                if 1e-9 < level < 0.5:
                    bounds = found.bounds(level)
                    decided = bounds.lower > limit if exceeds else bounds.upper < limit
                    assert decided is (level > p)
