"""What a trial weighs: in the ledger, on the way to a worker and back, in storage, on the driver.

Measured on a campaign that is there, by default one of the quickstart that is run first and keeps
its tampered weights.

    python -m benchmarks.campaign_bytes [RESULTS_FOLDER]
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean

from benchmarks._process import measure
from threatspec.records import Attempt, Ledger, Plan, Shipper, Storage, TrialKind, TrialResult
from threatspec.runners._work import task

_KEEP = "{schema: threatspec/runner/v1, kind: local, workers: 2, keep_artefacts: true}"


def main(folder: str = "") -> None:
    if folder:
        return _print(Path(folder))
    with tempfile.TemporaryDirectory() as name:
        profile, out = Path(name) / "keep.yaml", Path(name) / "run"
        profile.write_text(_KEEP)
        measure("run", "claims/quickstart.yaml", "--exhaustive", "--exit-zero", "--out", str(out),
                "--runner", str(profile))  # fmt: skip
        _print(out)


def _print(folder: Path) -> None:
    _print_tables(folder)
    with Ledger.open(folder) as ledger:
        plan = ledger.plan
        results = list(_whole(ledger))
        _print_messages(ledger, results)
    _print_driver(plan, results)
    _print_segments(folder)
    sizes = Counter(path.stat().st_size for path in folder.glob("artefacts/*.safetensors"))
    for size, count in sizes.items():
        print(f"artefact   {size:9,} bytes, {count} of them")


def _print_tables(folder: Path) -> None:
    """Bytes per entry, indexes included."""
    with sqlite3.connect(folder / "ledger.sqlite") as db:
        for table, per in (("rows", "row"), ("generations", "reply")):
            [(count,)] = db.execute(f"SELECT count(*) FROM {table}")
            pages = "SELECT sum(pgsize) FROM dbstat WHERE name IN (?, ?)"
            [(size,)] = db.execute(pages, (table, f"sqlite_autoindex_{table}_1"))
            print(f"ledger     {size / count:9.0f} bytes per {per}, {count:,} of them")


def _whole(ledger: Ledger) -> Iterator[TrialResult]:
    """Results as workers sent them."""
    for name, result in ledger.results().items():
        more = {"generations": ledger.generations(name), "rows": ledger.rows(name)}
        yield result.model_copy(update=more)


def _task(ledger: Ledger, result: TrialResult, found: dict[str, TrialResult]) -> str:
    trial = ledger.plan.trials[result.trial]
    inputs = [
        found[need].model_copy(update={"generations": ledger.generations(need), "rows": ()})
        for need in trial.needs
    ]
    return task(trial, inputs)


def _print_messages(ledger: Ledger, results: list[TrialResult]) -> None:
    found = {result.trial: result for result in results}
    sizes: dict[TrialKind, list[tuple[int, int]]] = defaultdict(list)
    for result in results:
        there, back = _task(ledger, result, found), result.model_dump_json()
        sizes[ledger.plan.trials[result.trial].kind].append((len(there), len(back)))
    for kind, pairs in sizes.items():
        to_it, from_it = (fmean(each) for each in zip(*pairs, strict=True))
        print(f"{kind:9}  {to_it:9,.0f} bytes to a worker, {from_it:,.0f} back (mean)")


def _print_driver(plan: Plan, results: list[TrialResult]) -> None:
    """Reading an answer, writing it down, and the next task: what a driver does for rows."""
    found = {result.trial: result for result in results}
    seconds: dict[TrialKind, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as name, Ledger.create(Path(name) / "run", plan) as ledger:
        for result in results:
            answer = result.model_dump_json()
            began = time.perf_counter()
            _task(ledger, result, found)
            ledger.record(TrialResult.model_validate_json(answer), Attempt("worker-1", 0, 1))
            kind = plan.trials[result.trial].kind
            seconds[kind].append(time.perf_counter() - began)
    for kind, each in seconds.items():
        print(f"{kind:9}  {fmean(each) * 1e3:9.2f} ms of the driver: task, answer, ledger (mean)")


def _print_segments(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        storage = Storage(name)
        shipper, began = Shipper(folder, storage), time.perf_counter()
        shipper.ship()
        took = time.perf_counter() - began
        size = sum(path.stat().st_size for path in Path(name).glob("segments/*"))
    print(f"segments   {size:9,} bytes in all, made in {took:.2f} s")


if __name__ == "__main__":
    main(*sys.argv[1:2])
