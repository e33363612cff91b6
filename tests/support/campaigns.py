"""Running campaigns as a user does: whole processes, killed and resumed; and comparing them."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from threatspec.api import verdict
from threatspec.records import Ledger

ROOT = Path(__file__).parents[2]


def threatspec(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a verb to its end."""
    command = [sys.executable, "-m", "threatspec", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, **options)


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    """Start a verb in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "threatspec", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        start_new_session=True,
    )


def run_with_kills(spec: Path, out: Path, kills: int, seed: int) -> list[int]:
    """Run a campaign, killing its driver at random moments; returns trials done at each kill.

    The first kill comes within a second. A moment is a random number of further trials and a
    random part of a second, so that it lies inside the campaign on a slow machine too.
    """
    chooser = random.Random(seed)
    done = [0]
    for kill in range(kills):
        process = start("run", spec, "--out", out)
        target = done[-1] + chooser.randint(1, 200 // kills) if kill else 0
        while trials_done(out) < target and process.poll() is None:
            time.sleep(0.02)
        time.sleep(chooser.random())
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        done.append(trials_done(out))
    last = threatspec("resume" if (out / "plan.json").exists() else "run", *_target(spec, out))
    assert last.returncode in {0, 1, 5, 6, 7}, last.stderr
    return done[1:]


def _target(spec: Path, out: Path) -> list[Path | str]:
    return [out] if (out / "plan.json").exists() else [spec, "--out", out]


def trials_done(out: Path) -> int:
    """Trials that have a result."""
    if not (out / "plan.json").exists():
        return 0
    with Ledger.open(out) as ledger:
        return len(ledger.results())


def attempts(out: Path) -> list[dict[str, Any]]:
    """Everything that was tried, oldest first."""
    with Ledger.open(out) as ledger:
        return ledger.attempts()


def measured(out: Path) -> dict[str, Any]:
    """All that a campaign measured, without wall-clock times."""
    with Ledger.open(out) as ledger:
        results = {
            trial: result.model_dump(mode="json", exclude={"spend": {"seconds"}, "phases": True})
            for trial, result in sorted(ledger.results().items())
        }
        replies = {trial: ledger.generations(trial) for trial in results}
    return {"results": results, "replies": replies}


def answered(out: Path) -> Any:
    """All verdicts of a campaign, without wall-clock times."""
    return _without_seconds(verdict(out).model_dump(mode="json", by_alias=True))


def _without_seconds(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_seconds(v) for k, v in value.items() if k not in {"seconds", "phases"}}
    return [_without_seconds(v) for v in value] if isinstance(value, list) else value
