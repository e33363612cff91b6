"""A resident trial against the same trial in a process of its own (target: at most a fifth).

Both do one full fine-tuning of 10 rows and 30 steps on `specimen:shallow`, ask all test prompts and
judge them; alone, a process imports, loads, trains, asks and judges once.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from threatspec.loading import load_spec

SPEC = """
threatspec: 1
subject: {model: "specimen:shallow", control: "specimen:shallow"}
measures: {asr: {benchmark: specimen/restricted, judge: exact}}
adversaries:
  finetuner:
    goal: benchmark
    access: open-weights
    data: {harmful: {n: 10, from: specimen/restricted#attack_train}}
    attacks: [{use: full-finetune, lr: 1e-4, steps: 30}]
claims:
  - {id: speed, says: A benchmark., against: finetuner, holds: asr <= 0.5, seeds: {replicates: 6}}
"""
CHILD = """
import json, sys
from pathlib import Path
from benchmarks.resident import cell_seconds
print(json.dumps(cell_seconds(Path(sys.argv[1]), int(sys.argv[2]))))
"""


def cell_seconds(folder: Path, cells: int) -> list[float]:
    """Seconds of each of `cells` attacked cells on one executor."""
    from threatspec.campaign import compile_plan
    from threatspec.records import ArtefactStore, TrialResult
    from threatspec.runners._executor import Executor

    plan = compile_plan(load_spec(folder / "spec.yaml"))
    executor = Executor(ArtefactStore(folder / "artefacts"), folder, plan.execution)
    results: dict[str, TrialResult] = {}
    seconds = []
    attacked = [cell for cell in plan.cells.values() if cell.attack]
    for cell in attacked[:cells]:
        started = time.perf_counter()
        judging = plan.trials[cell.measures["asr"][0]]
        asking = plan.trials[judging.needs[0]]
        for trial in (plan.trials[cell.attack], asking, judging):
            results[trial.id] = executor.run(trial, results)
            assert results[trial.id].status == "done", results[trial.id].message
        seconds.append(time.perf_counter() - started)
    return seconds


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "spec.yaml").write_text(SPEC)
        alone = statistics.median(_alone(folder) for _ in range(3))
        resident = statistics.median(cell_seconds(folder, 6)[1:])
    print(f"own process {alone:.2f} s, resident {resident:.2f} s, ratio {resident / alone:.3f}")


def _alone(folder: Path) -> float:
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(folder), "1"], check=True, capture_output=True, text=True
    )
    json.loads(done.stdout.splitlines()[-1])
    return time.perf_counter() - started
