"""What a campaign reads must still be what was planned, however long ago that was.

Looked at once before anything runs, so that a model that was moved, a file that was edited or
weights that were cleared away stop a run with nothing recorded, instead of failing trial by trial
for good or being measured as something else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from threatspec.errors import ThreatspecError
from threatspec.measures import benchmark, describe_subject
from threatspec.records import ArtefactStore, Plan, Trial, TrialResult

__all__ = ["check_inputs"]


def check_inputs(
    plan: Plan,
    trials: Sequence[Trial],
    results: Mapping[str, TrialResult],
    store: ArtefactStore,
    spec_folder: Path,
) -> None:
    """Look at all that the trials that are still to be run will read.

    Raises ThreatspecError: TS-MODEL-MISSING, TS-MODEL-DIGEST, TS-FILE-MISSING, TS-DATA, or
    TS-RECORDS for tampered weights that are gone.
    """
    for ref in dict.fromkeys(ref for trial in trials for ref in _models(trial)):
        _require(plan, ref, describe_subject(ref, spec_folder).digest, "TS-MODEL-DIGEST")
    for name in dict.fromkeys(name for trial in trials for name in _benchmarks(trial)):
        _require(plan, name, benchmark(name, spec_folder).digest, "TS-DATA")
    for need in dict.fromkeys(need for trial in trials for need in trial.needs if need in results):
        for artefact in results[need].artefacts:
            store.require(artefact)


def _models(trial: Trial) -> list[str]:
    """Of an instrument also the one that it compares with."""
    base = trial.work.get("base")
    return [trial.subject, base] if base else [trial.subject]


def _benchmarks(trial: Trial) -> list[str]:
    own = [trial.work["benchmark"]] if "benchmark" in trial.work else []
    return [*own, *trial.work.get("benchmarks", ())]


def _require(plan: Plan, name: str, found: str, code: str) -> None:
    planned = plan.digests[name]
    if found != planned:
        raise ThreatspecError(
            code,
            f"{name} must be what was planned ({planned[:24]}), but is {found[:24]} now; "
            "put it back, or run again with another --out",
        )
