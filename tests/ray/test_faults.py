"""What goes wrong around trials: nothing measured is lost, nothing is counted twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.ray.conftest import Profile, Spec
from tests.support.campaigns import attempts, measured, start, threatspec, trials_done
from threatspec.records import Ledger

pytestmark = pytest.mark.campaign


def test_a_killed_worker_is_replaced(spec: Spec, profile: Profile, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start("run", spec(), "--out", out, "--runner", profile())
    wait_for(lambda: trials_done(out) > 2, process)
    os.kill(workers(out)["worker-1"]["pid"], signal.SIGKILL)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 1, errors
    assert lost(out) == {"TS-WORKER-LOST": 1}
    assert everything_done_once(out)
    assert len(started(out)) == 3


def test_a_trial_that_kills_every_worker_is_an_error_in_the_denominator(
    spec: Spec, profile: Profile, trouble: None, tmp_path: Path
) -> None:
    path, out = spec("lethal", replicates=1), tmp_path / "run"
    done = threatspec("run", path, "--out", out, "--runner", profile(retries=1), "--json")
    assert done.returncode not in {0, 3}, done.stderr
    with Ledger.open(out) as ledger:
        attacks = [t for t in ledger.plan.trials.values() if t.work.get("attack") == "lethal"]
        results = ledger.results()
    assert {results[t.id].status.value for t in attacks} == {"error"}
    assert {results[t.id].code for t in attacks} == {"TS-WORKER-LOST"}
    tries = Counter(a["trial"] for a in attempts(out))
    assert {tries[t.id] for t in attacks} == {2}, "retried as often as the profile says"
    assert all(n == 1 for trial, n in tries.items() if trial not in {t.id for t in attacks})
    [claim] = json.loads(done.stdout)["claims"]
    assert claim["verdict"] != "SUPPORTED"
    assert "TS-WORKER-LOST" in " ".join(claim["reasons"])


def test_a_hung_trial_is_ended(spec: Spec, profile: Profile, trouble: None, tmp_path: Path) -> None:
    out = tmp_path / "run"
    runner = profile(trial_timeout_s=30, retries=0, speculation=0)
    path = spec({"use": "sleepy", "seconds": 600.0}, replicates=1)
    done = threatspec("run", path, "--out", out, "--runner", runner)
    assert done.returncode not in {0, 3}, done.stderr
    assert set(codes(out)) == {"", "TS-TRIAL-TIMEOUT"}


def test_a_trial_on_a_slow_node_is_run_elsewhere_and_the_first_result_counts(
    spec: Spec, profile: Profile, tmp_path: Path
) -> None:
    path, out = spec(), tmp_path / "run"
    process = start("run", path, "--out", out, "--runner", profile(speculation=3))
    wait_for(lambda: trials_done(out) > 8, process)
    os.kill(workers(out)["worker-2"]["pid"], signal.SIGSTOP)
    _, errors = process.communicate(timeout=360)
    assert process.returncode == 1, errors
    assert not lost(out)
    assert everything_done_once(out)
    assert len({a["worker"] for a in attempts(out)[-5:]}) == 1
    undisturbed = tmp_path / "undisturbed"
    assert threatspec("run", path, "--out", undisturbed).returncode == 1
    assert measured(out) == measured(undisturbed)


def test_a_killed_driver_leaves_no_workers_and_resumes_elsewhere(
    spec: Spec, profile: Profile, tmp_path: Path
) -> None:
    path, out = spec(), tmp_path / "run"
    process = start("run", path, "--out", out, "--runner", profile())
    wait_for(lambda: trials_done(out) > 5, process)
    pids = [entry["pid"] for entry in workers(out).values()]
    process.kill()
    process.communicate()
    kept = trials_done(out)
    wait_for(lambda: not any(psutil.pid_exists(pid) for pid in pids))
    assert threatspec("resume", out).returncode == 1
    assert trials_done(out) > kept
    assert everything_done_once(out)


@pytest.mark.parametrize("runner", ["local", "ray"])
def test_ctrl_c_once_finishes_what_runs(
    spec: Spec, profile: Profile, tmp_path: Path, runner: str, trouble: None
) -> None:
    path = spec({"use": "sleepy", "seconds": 3.0}, replicates=1)
    out = tmp_path / "run"
    process = start("run", path, "--out", out, "--runner", profile(kind=runner, workers=1))
    wait_for(lambda: begun(out), process)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "TS-INTERRUPTED" in errors
    assert "finishing running trials" in errors
    assert set(codes(out)) == {""}, "what ran was finished"
    assert trials_done(out) == len(attempts(out)) > 0


@pytest.mark.parametrize("runner", ["local", "ray"])
def test_ctrl_c_twice_stops_now_and_loses_nothing_measured(
    spec: Spec, profile: Profile, tmp_path: Path, runner: str, trouble: None
) -> None:
    path = spec({"use": "full-finetune", "lr": 1e-6, "steps": 2}, "sleepy", replicates=1)
    out = tmp_path / "run"
    process = start("run", path, "--out", out, "--runner", profile(kind=runner, workers=2))
    wait_for(lambda: trials_done(out) > 0, process)
    time.sleep(1)
    kept = trials_done(out)
    process.send_signal(signal.SIGINT)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert trials_done(out) >= kept


def test_a_run_stops_before_it_spends_more_than_it_may(
    spec: Spec, profile: Profile, tmp_path: Path
) -> None:
    path, out = spec(), tmp_path / "run"
    runner = profile(kind="local", price_per_hour=3600.0)
    stopped = threatspec("run", path, "--out", out, "--runner", runner, "--max-usd", "2")
    assert stopped.returncode == 3
    assert "2 USD may be spent" in stopped.stderr
    assert "TS-SPEND-LIMIT" in stopped.stderr
    kept = trials_done(out)
    assert kept > 0
    again = threatspec("resume", out, "--runner", runner, "--max-usd", "2")
    assert again.returncode == 3
    assert trials_done(out) == kept, "earlier runs are included"
    assert threatspec("resume", out, "--runner", runner).returncode == 1
    assert everything_done_once(out)


def wait_for(condition: Any, process: subprocess.Popen[str] | None = None) -> None:
    for _ in range(1800):
        if condition():
            return
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.1)
    raise AssertionError("waited for too long")


def started(out: Path) -> list[dict[str, Any]]:
    with Ledger.open(out) as ledger:
        return ledger.events("worker-started")


def begun(out: Path) -> bool:
    return (out / "plan.json").exists() and bool(started(out))


def workers(out: Path) -> dict[str, dict[str, Any]]:
    """The last start of each worker."""
    return {entry["worker"]: entry for entry in started(out)}


def codes(out: Path) -> Counter[str]:
    return Counter(attempt["code"] for attempt in attempts(out))


def lost(out: Path) -> Counter[str]:
    return Counter({code: n for code, n in codes(out).items() if code})


def everything_done_once(out: Path) -> bool:
    with Ledger.open(out) as ledger:
        results = ledger.results()
    final = [attempt["trial"] for attempt in attempts(out) if attempt["final"]]
    return sorted(final) == sorted(results) and all(r.status == "done" for r in results.values())
