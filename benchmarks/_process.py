"""Measure a command as a whole process, children included."""

from __future__ import annotations

import statistics
import subprocess
import sys
import threading
import time
from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class Measured:
    """One run of a command."""

    seconds: float
    peak_mib: float
    """Largest sum of resident memory over the process and its children, sampled every 50 ms."""
    output: str
    code: int


def measure(*arguments: str) -> Measured:
    """Run `python -m threatspec ARGUMENTS`."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "threatspec", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    peak = [0.0]
    watcher = threading.Thread(target=_watch, args=(process.pid, peak), daemon=True)
    watcher.start()
    output, _ = process.communicate()
    return Measured(time.perf_counter() - started, peak[0], output, process.returncode)


def median_seconds(runs: int, *arguments: str) -> float:
    """Median wall time of several runs, after one that does not count."""
    measure(*arguments)
    return statistics.median(measure(*arguments).seconds for _ in range(runs))


def _watch(pid: int, peak: list[float]) -> None:
    try:
        root = psutil.Process(pid)
        while True:
            family = [root, *root.children(recursive=True)]
            peak[0] = max(peak[0], sum(_resident(p) for p in family) / 2**20)
            time.sleep(0.05)
    except psutil.NoSuchProcess:
        return


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0
