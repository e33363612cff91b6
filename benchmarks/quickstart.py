"""The quickstart as a stranger runs it (90 s, 1.5 GB), and its resumption (2 s, no trial)."""

from __future__ import annotations

import sqlite3
import tempfile
from pathlib import Path

from benchmarks._process import measure


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        first = measure("run", "claims/quickstart.yaml", "--out", str(out))
        before = _attempts(out)
        again = measure("resume", str(out))
        print(f"run        {first.seconds:.1f} s, peak {first.peak_mib:.0f} MiB, exit {first.code}")
        print(f"resume     {again.seconds:.2f} s, trials run {_attempts(out) - before}")


def _attempts(out: Path) -> int:
    with sqlite3.connect(out / "ledger.sqlite") as db:
        return int(db.execute("SELECT COUNT(*) FROM attempts").fetchone()[0])
