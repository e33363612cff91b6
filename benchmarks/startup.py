"""Light verbs: `--help` (target 0.3 s), `check` of the quickstart (0.5 s), import (0.2 s)."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from benchmarks._process import median_seconds

PROBE = "import threatspec, sys; assert 'torch' not in sys.modules"


def main() -> None:
    bare = statistics.median(_python("pass") for _ in range(7))
    imported = statistics.median(_python(PROBE) for _ in range(7))
    print(f"python alone                        {bare:.3f} s")
    print(f"import threatspec (python excluded) {imported - bare:.3f} s")
    print(f"threatspec --help                   {median_seconds(7, '--help'):.3f} s")
    checked = median_seconds(7, "check", "claims/quickstart.yaml")
    print(f"threatspec check quickstart         {checked:.3f} s")


def _python(code: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - started
