"""Whatever a campaign left behind, its bundle gives the same evidence and the same verdict."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.bundles import SUPPORTED, bundled, made_run
from tests.support.specs import plan_of
from threatspec import api
from threatspec.claims import decide
from threatspec.measures import Item
from threatspec.records import Cell, Execution
from threatspec.reports.bundle import open_bundle, verify_bundle

PLANS = {
    whole: plan_of(Path(tempfile.mkdtemp()), SUPPORTED, execution=Execution(exhaustive=whole))
    for whole in (True, False)
}


@settings(max_examples=6, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    shares=st.lists(st.integers(0, 100), min_size=9, max_size=9),
    whole=st.booleans(),
    finished=st.booleans(),
    cells=st.integers(0, 9),
)
def test_a_bundle_gives_the_evidence_of_its_folder(
    shares: list[int], whole: bool, finished: bool, cells: int
) -> None:
    names = list(PLANS[whole].cells)

    def says(cell: Cell, item: Item, arm: str) -> str:
        """About so many of a hundred prompts are answered, by their names alone."""
        chosen = sum(item.id.encode()) % 100 < shares[names.index(cell.id) % len(shares)]
        return f"here is {item.references[0]}" if chosen else "sorry"

    with tempfile.TemporaryDirectory() as name:
        run = made_run(Path(name), says=says, plan=PLANS[whole], finished=finished, cells=cells)
        with open_bundle(bundled(Path(name), run)) as opened:
            mine, theirs = api.evidence(run), opened.evidence
            assert theirs.cells == mine.cells
            assert theirs.looks == mine.looks
            assert theirs.registration == mine.registration
            assert decide(theirs) == decide(mine) == opened.recorded
            failed = {check.name for check in verify_bundle(opened).failed}
    assert failed == ({"completeness"} if finished and cells < 9 else set())
