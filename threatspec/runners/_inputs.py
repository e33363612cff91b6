"""What a campaign reads must still be what was planned, however long ago that was.

Looked at once before anything runs, so that a model that was moved or a file that was edited stops
a run with nothing recorded, instead of failing trial by trial or being measured as another one.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from threatspec.errors import ThreatspecError
from threatspec.measures import benchmark
from threatspec.records import Plan, Trial
from threatspec.subjects import describe

__all__ = ["check_inputs"]


def check_inputs(plan: Plan, done: Collection[str], spec_folder: Path) -> None:
    """Compare the models and benchmarks of all trials that are not `done` with the plan.

    Raises ThreatspecError: TS-MODEL-MISSING, TS-MODEL-DIGEST, TS-FILE-MISSING or TS-DATA.
    """
    trials = [trial for trial in plan.trials.values() if trial.id not in done]
    for ref in dict.fromkeys(trial.subject for trial in trials):
        _require(plan, ref, describe(ref).digest, "TS-MODEL-DIGEST")
    for name in dict.fromkeys(name for trial in trials for name in _benchmarks(trial)):
        _require(plan, name, benchmark(name, spec_folder).digest, "TS-DATA")


def _benchmarks(trial: Trial) -> list[str]:
    return [trial.work["benchmark"]] if "benchmark" in trial.work else []


def _require(plan: Plan, name: str, found: str, code: str) -> None:
    planned = plan.digests[name]
    if found != planned:
        raise ThreatspecError(
            code,
            f"{name} must be what was planned ({planned[:16]}), but is {found[:16]} now; "
            "put it back, or run again with another --out",
        )
