"""Minutes of a campaign and seconds per cell: `python -m benchmarks.zoo [runs/zoo]`.

Seconds per cell are those that workers spent on results, shared out over the cells that are
finished: fitting, scoring, searching and reading what all cells share are in them. What ran beside
the campaign on the same cores makes them longer.
"""

from __future__ import annotations

import sys
from pathlib import Path

from threatspec.api import evidence
from threatspec.claims import CellState, Evidence, decide
from threatspec.records import Ledger
from threatspec.reports._timeline import timeline_of


def finished(found: Evidence) -> int:
    """Cells that are read as far as their claims need."""
    bare = {name for name, one in found.cells.items() if one.state is not CellState.NOT_RUN}
    read = (cell for claim in decide(found).claims for cell in claim.cells)
    return len(bare | {cell.cell for cell in read if cell.state is not CellState.NOT_RUN})


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/zoo")
    found = evidence(folder)
    done = finished(found)
    with Ledger.open(folder) as ledger:
        times, results = timeline_of(ledger), len(ledger.results())
    planned = f"of {len(found.cells):,} cells, {results:,} trials"
    if times is None or not done:
        print(f"nothing is finished {planned}")
        return
    busy = times.total.busy
    print(
        f"{times.span / 60:.1f} min with {len(times.workers)} workers in all; {done:,} {planned}; "
        f"{busy / 60:.1f} worker-minutes, {busy / done:.2f} s per finished cell"
    )


if __name__ == "__main__":
    main()
