"""What a driver costs: 100,000 trials that do nothing, given to two workers on Ray.

Every trial is the attack `none` on a specimen that stays mounted, so that what is measured is
giving out, answering and writing down. Targets: at most 1.5 ms per trial, memory that grows by at
most 100 MB after the first 10,000, less than 1 KB of ledger per trial.

    python -m benchmarks.driver_overhead [TRIALS [PROFILE]]
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from threatspec.records import Execution, Ledger, Plan, Trial, TrialKind
from threatspec.runners import RunState, load_profile, run_campaign
from threatspec.schema import content_id
from threatspec.subjects import describe

SUBJECT = "specimen:undefended"
WORKERS = 2
EARLY = 10_000
"""Trials after which memory should not grow."""


def main(trials: int = 100_000, profile: str = "ray") -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "run"
        Ledger.create(folder, no_op_plan(trials)).close()
        empty = _ledger_bytes(folder)
        print(f"{trials:,} trials, {WORKERS} workers, runner {profile}", flush=True)
        drive = [sys.executable, "-m", "benchmarks.driver_overhead", "--drive", name, profile]
        subprocess.run(drive, check=True)  # in a process that has made nothing else
        size, before = _ledger_bytes(folder) / trials, empty / trials
        print(f"ledger       {size:.0f} bytes per trial (target 1000), {before:.0f} before the run")


def no_op_plan(trials: int) -> Plan:
    """Attacks that do nothing, each with a seed of its own; no claim reads them."""
    found = (_no_op(seed) for seed in range(trials))
    return Plan(
        spec_file="no-op.yaml", spec={}, execution=Execution(),
        digests={SUBJECT: describe(SUBJECT).digest}, measures={}, procedures={}, cells={},
        trials={trial.id: trial for trial in found}, claims=(),
    )  # fmt: skip


def _no_op(seed: int) -> Trial:
    work = {"attack": "none", "config": {}, "data": {}, "seeds": {"order": seed}}
    return Trial(
        id=content_id("attack", work), kind=TrialKind.ATTACK, subject=SUBJECT, needs=(), work=work
    )


def _ledger_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("ledger.sqlite*"))


# the driver, in a process of its own


@dataclass(frozen=True)
class Moment:
    """What a driver has used, and what it has done with that."""

    done: int
    wall: float
    cpu: float
    rss: int


class Watch:
    """Looks at the driver once the first trial has ended, after the first tenth, and at the end."""

    def __init__(self) -> None:
        self.seen: list[Moment] = []

    def update(self, state: RunState, *, over: bool) -> None:
        """Note what is used, if it is time."""
        marks = (1, min(EARLY, state.graph.total // 10))
        if over or (len(self.seen) < len(marks) and state.done >= marks[len(self.seen)]):
            rss = psutil.Process().memory_info().rss
            self.seen.append(Moment(state.done, time.perf_counter(), time.process_time(), rss))


def drive(folder: Path, name: str) -> None:
    """Run the plan that is in `folder` and print what that has cost."""
    profile = load_profile(name).model_copy(update={"workers": WORKERS})
    watch, began = Watch(), time.perf_counter()
    with Ledger.open(folder / "run", writable=True) as ledger:
        run_campaign(ledger, folder, profile, watch)
    first, early, end = watch.seen[0], watch.seen[1], watch.seen[-1]
    trials = end.done - first.done
    wall, cpu = (end.wall - first.wall) / trials, (end.cpu - first.cpu) / trials
    print(f"start-up     {first.wall - began:.1f} s until the first trial had ended, not counted")
    print(f"wall time    {wall * 1e3:.3f} ms per trial (target 1.5)")
    print(f"driver CPU   {cpu * 1e3:.3f} ms per trial")
    early_mb, end_mb = early.rss / 1e6, end.rss / 1e6
    print(f"memory       {early_mb:.0f} MB after {early.done:,} trials, {end_mb:.0f} MB at the end")
    print(f"growth       {end_mb - early_mb:+.0f} MB (target 100)")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--drive"]:
        drive(Path(sys.argv[2]), sys.argv[3])
    else:
        main(*map(int, sys.argv[1:2]), *sys.argv[2:3])
