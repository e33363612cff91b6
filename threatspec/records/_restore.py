"""A results folder from what was shipped to storage."""

from __future__ import annotations

from pathlib import Path

from threatspec.errors import ThreatspecError
from threatspec.records._ledger import Ledger
from threatspec.records._plan import Plan
from threatspec.records._segments import read_segments
from threatspec.records._storage import Storage

__all__ = ["restore"]


def restore(storage: Storage, folder: Path) -> int:
    """Build or extend `folder`'s ledger from a campaign's storage; how many segments there are.

    Segments are kept in `folder/segments` and not fetched again. Killed at any point, calling it
    again completes. Nothing is written where nothing was shipped.

    Raises ThreatspecError TS-STORAGE, TS-RUN-OTHER-PLAN, TS-RUN-LOCKED.
    """
    if "plan.json" not in storage:
        return 0
    number = 0
    with Ledger.rebuild(folder, _plan(storage)) as ledger:
        mirror = Storage(folder / "segments")
        for segment in read_segments(storage.child("segments"), mirror):
            ledger.restored(segment.entries)
            number = segment.number
    if "progress.json" in storage:
        Storage(folder).write("progress.json", storage.read("progress.json"))
    return number


def _plan(storage: Storage) -> Plan:
    try:
        return Plan.model_validate_json(storage.read("plan.json"))
    except ValueError as error:
        detail = str(error).splitlines()[0]
        text = f"{storage.url}/plan.json cannot be read: {detail}; restore the storage from a copy"
        raise ThreatspecError("TS-STORAGE", text) from None
