"""Recorded trial durations replayed over 1 to 1,000 workers with failures: who waits, and for what.

Durations are drawn from the ledger of a campaign, by default one of the quickstart that is run
first. Everything else is an assumption, and an option.

    python -m benchmarks.simulate_cluster [--ledger RESULTS_FOLDER] [--scale 60] [--help]
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, median

from benchmarks._cluster import DRIVER_S, Cluster, Simulated, Simulation
from benchmarks._process import measure
from threatspec.records import Execution, Ledger, Plan, Trial, TrialKind, TrialStatus

WORKERS = (1, 10, 100, 1000)
LEGEND = """
best    least possible makespan (work / workers, longest chain, driver) as a share of the simulated
used    share of worker time in which a trial ran or its subject was loaded
twice   worker time of attempts that do not count, as a share of that of those that do
driver  share of the makespan in which the driver was busy
lost    attempts that ended with their worker"""


def main(arguments: Sequence[str] = ()) -> None:
    given = _options().parse_args(arguments)
    if given.ledger:
        return _print(given, Path(given.ledger))
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "run"
        measure("run", "claims/quickstart.yaml", "--exhaustive", "--exit-zero", "--out", str(out))
        _print(given, out)


def _options() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="python -m benchmarks.simulate_cluster")
    add = options.add_argument
    add("--ledger", help="results folder whose durations are replayed")
    add("--scale", type=float, nargs="+", default=[1, 60], help="factors of durations and loads")
    add("--workers", type=int, nargs="+", default=WORKERS)
    add("--cells", type=int, default=2000)
    add("--looks", type=int, default=3, help="looks of each cell, one after the other")
    add("--subjects", type=int, default=8)
    add("--load", type=float, help="seconds to load a subject, before the factor; else recorded")
    add("--driver", type=float, default=DRIVER_S, help="seconds of the driver per trial")
    add("--failures", type=float, default=0.01, help="workers lost per worker-hour")
    add("--node-losses", type=float, default=0.01, help="nodes of 8 lost per node-hour")
    add("--restart", type=float, default=60, help="seconds until a lost worker is back")
    add("--slow-share", type=float, default=0.01, help="share of slow workers")
    add("--slow-factor", type=float, default=3, help="how many times as long they take")
    add("--speculation", type=float, default=4, help="as in a profile; 0: never")
    add("--seed", type=int, default=0)
    return options


def _print(given: argparse.Namespace, folder: Path) -> None:
    kinds, load_s = recorded(folder)
    load_s = load_s if given.load is None else given.load
    for kind, found in kinds.items():
        print(f"{kind:9} {len(found):5} trials recorded, mean {fmean(found):.3f} s")
    print(f"loading a subject {load_s:.3f} s")
    print(LEGEND)
    plan = plan_of(given.cells, given.looks, given.subjects)
    for scale in given.scale:
        _print_scale(given, plan, drawn(plan, kinds, scale, given.seed), scale, load_s)


def _print_scale(
    given: argparse.Namespace, plan: Plan, seconds: dict[str, float], scale: float, load_s: float
) -> None:
    total, mean = sum(seconds.values()), fmean(seconds.values())
    path = critical_path(plan, seconds)
    print(f"\n{len(seconds):,} trials, durations x {scale:g}: mean {mean:.3g} s, ", end="")
    print(f"sum {total / 3600:.3g} h, longest chain {path:.3g} s")
    print(f"the driver is full at {mean / given.driver:,.0f} workers")
    print("workers    makespan   best   used  twice  driver  lost")
    for workers in given.workers:
        cluster = Cluster(
            workers, given.driver, load_s * scale, given.failures, given.node_losses,
            given.restart, given.slow_share, given.slow_factor, given.speculation,
            0.5 * max(1.0, scale), given.seed,
        )  # fmt: skip
        done = Simulation(plan, seconds, cluster).run()
        ideal = max(total / workers, path, len(seconds) * given.driver)
        print(_line(cluster, done, ideal), flush=True)


def _line(cluster: Cluster, done: Simulated, ideal: float) -> str:
    used = (done.work_s + done.twice_s) / (cluster.workers * done.makespan)
    driver = done.answers * cluster.driver_s / done.makespan
    return (
        f"{cluster.workers:7,} {done.makespan:9,.0f} s {ideal / done.makespan:6.1%} {used:6.1%} "
        f"{done.twice_s / done.work_s:6.2%} {driver:7.1%} {done.lost:5}"
    )


# a plan and its durations


def plan_of(cells: int, looks: int, subjects: int) -> Plan:
    """Cells of an attack each, read at several looks, one after the other."""
    trials: dict[str, Trial] = {}
    for cell in range(cells):
        subject = f"subject-{cell * subjects // cells}"
        attack, seen = f"{cell}/attack", ""
        _add(trials, attack, TrialKind.ATTACK, subject)
        for look in range(looks):
            ask, judge = f"{cell}/generate-{look}", f"{cell}/judge-{look}"
            _add(trials, ask, TrialKind.GENERATE, subject, attack, after=(seen,) if seen else ())
            _add(trials, judge, TrialKind.JUDGE, subject, ask)
            seen = judge
    return Plan(
        spec_file="simulated.yaml", spec={}, execution=Execution(), digests={}, measures={},
        procedures={}, cells={}, trials=trials, claims=(),
    )  # fmt: skip


def _add(
    trials: dict[str, Trial], name: str, kind: TrialKind, subject: str, *needs: str,
    after: tuple[str, ...] = (),
) -> None:  # fmt: skip
    trials[name] = Trial(id=name, kind=kind, subject=subject, needs=needs, after=after, work={})


def recorded(folder: Path) -> tuple[dict[TrialKind, list[float]], float]:
    """Seconds of a campaign's trials without loading, by kind, and the median load."""
    found: dict[TrialKind, list[float]] = defaultdict(list)
    with Ledger.open(folder) as ledger:
        results = ledger.results()
        for attempt in ledger.attempts():
            if attempt["final"] and attempt["status"] == TrialStatus.DONE:
                load = results[attempt["trial"]].phases.load
                kind = ledger.plan.trials[attempt["trial"]].kind
                found[kind].append(max(0.0, attempt["ended"] - attempt["started"] - load))
    loads = [one.phases.load for one in results.values() if one.phases.load > 0]
    return dict(found), median(loads) if loads else 0.0


def drawn(
    plan: Plan, kinds: Mapping[TrialKind, Sequence[float]], scale: float, seed: int
) -> dict[str, float]:
    """A duration for every trial, the same on every cluster."""
    luck = random.Random(seed)
    return {name: scale * luck.choice(kinds[one.kind]) for name, one in plan.trials.items()}


def critical_path(plan: Plan, seconds: Mapping[str, float]) -> float:
    """Seconds of the longest chain of trials that wait for each other."""
    ends: dict[str, float] = {}
    for trial in plan.trials.values():
        before = (ends[other] for other in (*trial.needs, *trial.after))
        ends[trial.id] = max(before, default=0.0) + seconds[trial.id]
    return max(ends.values())


if __name__ == "__main__":
    main(sys.argv[1:])
