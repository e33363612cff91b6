"""The long version of the kill test: `python -m tests.support.kill_and_resume [KILLS] [SEED]`.

Runs the quickstart undisturbed and with many kills, and compares all rows, replies and verdicts.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.support.campaigns import ROOT, answered, measured, run_with_kills, threatspec


def main() -> None:
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    spec = ROOT / "claims" / "quickstart.yaml"
    with tempfile.TemporaryDirectory() as name:
        whole, killed = Path(name) / "whole", Path(name) / "killed"
        print(threatspec("run", spec, "--out", whole).stdout.splitlines()[-1])
        done = run_with_kills(spec, killed, kills, seed)
        print(f"trials done at each of {kills} kills: {done}")
        same = measured(whole) == measured(killed) and answered(whole) == answered(killed)
        print("rows, replies and verdicts are", "equal" if same else "DIFFERENT")
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
