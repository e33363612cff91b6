"""The simulated cluster: what no schedule can beat, and what no failure may lose."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from benchmarks._cluster import Cluster, Simulated, Simulation
from benchmarks.simulate_cluster import critical_path, drawn, main, plan_of, recorded
from threatspec.records import Attempt, Ledger, Phases, TrialKind, TrialResult, TrialStatus

PLAN = plan_of(cells=40, looks=2, subjects=4)
KINDS = {
    TrialKind.ATTACK: [5.0, 20.0, 60.0],
    TrialKind.GENERATE: [8.0, 12.0],
    TrialKind.JUDGE: [0.5, 1.0],
}
SECONDS = drawn(PLAN, KINDS, 1.0, seed=3)
WORK = sum(SECONDS.values())
CALM = Cluster(workers=8, load_s=4.0, speculation=0)
STORMY = dataclasses.replace(
    CALM, workers=16, failures=60.0, node_losses=20.0, restart_s=10.0, slow_share=0.25,
    slow_factor=9.0, speculation=2.0,
)  # fmt: skip


def simulate(cluster: Cluster) -> Simulated:
    return Simulation(PLAN, SECONDS, cluster).run()


@pytest.mark.parametrize("workers", [1, 3, 16, 200])
@pytest.mark.parametrize("cluster", [CALM, STORMY], ids=["calm", "stormy"])
def test_no_cluster_is_faster_than_its_work_and_the_longest_chain(
    cluster: Cluster, workers: int
) -> None:
    done = simulate(dataclasses.replace(cluster, workers=workers))
    assert done.makespan >= WORK / workers
    assert done.makespan >= critical_path(PLAN, SECONDS)
    assert 0 < done.work_s + done.twice_s <= workers * done.makespan * (1 + 1e-9)


def test_one_worker_needs_its_work_the_loads_and_the_driver() -> None:
    """Affinity: each of four subjects is loaded once."""
    done = simulate(dataclasses.replace(CALM, workers=1))
    assert done.work_s == pytest.approx(WORK + 4 * CALM.load_s)
    assert done.makespan == pytest.approx(done.work_s + len(SECONDS) * CALM.driver_s)


def test_the_longest_chain_is_an_attack_and_what_reads_it() -> None:
    assert critical_path(plan_of(1, 2, 1), dict.fromkeys(PLAN.trials, 1.0)) == 5.0


def test_without_failures_nothing_is_done_twice() -> None:
    done = simulate(CALM)
    assert done.twice_s == 0
    assert done.lost == 0
    assert done.answers == len(PLAN.trials)


def test_every_trial_ends_once_whatever_is_lost() -> None:
    done = simulate(STORMY)
    assert done.lost > 10
    assert done.twice_s > 0
    assert set(done.ended) == set(PLAN.trials)
    assert set(done.ended.values()) == {1}


@pytest.mark.parametrize("change", [{"failures": 0.0}, {"node_losses": 0.0}])
def test_either_kind_of_failure_loses_work(change: dict[str, float]) -> None:
    assert simulate(dataclasses.replace(STORMY, **change)).lost > 0


def test_second_runs_shorten_what_a_slow_worker_holds_up() -> None:
    slow = dataclasses.replace(CALM, workers=40, slow_share=0.1, slow_factor=50.0)
    quick = simulate(dataclasses.replace(slow, speculation=2.0))
    assert quick.makespan < simulate(slow).makespan
    assert quick.twice_s > 0
    assert quick.lost == 0


def test_equal_seeds_give_equal_campaigns() -> None:
    assert simulate(STORMY) == simulate(STORMY)
    assert simulate(STORMY) != simulate(dataclasses.replace(STORMY, seed=1))


def test_a_slow_driver_is_the_limit() -> None:
    done = simulate(dataclasses.replace(CALM, workers=100, driver_s=1.0))
    assert done.makespan >= len(PLAN.trials)
    assert done.answers / done.makespan <= 1


def test_durations_come_from_a_ledger_without_its_loads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = plan_of(cells=1, looks=1, subjects=1)
    with Ledger.create(tmp_path / "run", small) as ledger:
        for name in small.trials:
            load = Phases(load=3.0 if name.endswith("attack") else 0.0)
            result = TrialResult(trial=name, status=TrialStatus.DONE, phases=load)
            ledger.record(result, Attempt("worker-1", 100.0, 105.0))
    kinds, load_s = recorded(tmp_path / "run")
    assert load_s == 3.0
    assert kinds == {TrialKind.ATTACK: [2.0], TrialKind.GENERATE: [5.0], TrialKind.JUDGE: [5.0]}

    options = ["--cells", "10", "--looks", "1", "--workers", "1", "--scale", "2"]
    main(["--ledger", str(tmp_path / "run"), *options])
    printed = capsys.readouterr().out
    assert "30 trials, durations x 2: mean 8 s" in printed
    assert "the driver is full at 8,511 workers" in printed
