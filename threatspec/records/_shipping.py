"""Shipping a ledger to storage while it grows."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from threatspec.errors import ThreatspecError
from threatspec.records._ledger import REPLIES, ROWS, pictures_in
from threatspec.records._segments import (
    FIRST,
    digest_of,
    read_segments,
    segment_bytes,
    segment_name,
)
from threatspec.records._storage import Storage

__all__ = ["Shipper"]

_MOST_BYTES = 8 * 2**20
_MOST_ENTRIES = 5_000


class Shipper:
    """Writes what is new in a ledger as the next segment, again and again.

    Args:
        folder: the results folder; it is only read.
        storage: the campaign's storage.
    """

    def __init__(self, folder: Path, storage: Storage) -> None:
        self._folder = folder
        self._storage = storage
        self._segments = storage.child("segments")
        self._number = 0
        self._before = FIRST
        self._last: dict[str, dict[str, Any]] = {}
        """The last attempt and the last event that were shipped."""
        self._planned = False
        self._progress = b""
        self._later: list[Callable[[], None]] = []
        self._busy = threading.Lock()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._begin()

    def _begin(self) -> None:
        """Go on behind what is there, which the ledger must have too."""
        for segment in read_segments(self._segments):
            self._number, self._before = segment.number, segment.digest
            for entry in segment.entries:
                self._note(entry)
        with _reading(self._folder) as db:
            if any(not _has(db, entry) for entry in self._last.values()):
                text = f"{self._storage.url} must hold what {self._folder} holds, but another run "
                text += "of the plan wrote there; go on with that one, or use another `storage`"
                raise ThreatspecError("TS-STORAGE", text)

    def _note(self, entry: dict[str, Any]) -> None:
        kind = "attempt" if "attempt" in entry else "event"
        self._last[kind] = {"n": entry["n"], kind: entry[kind]}

    def _shipped(self) -> tuple[int, int]:
        none = {"n": 0}
        return self._last.get("attempt", none)["n"], self._last.get("event", none)["n"]

    def start(self, every_s: float = 5.0) -> None:
        """Ship in the background; a failure is tried again."""
        self._thread = threading.Thread(target=self._go_on, args=(every_s,), daemon=True)
        self._thread.start()

    def _go_on(self, every_s: float) -> None:
        while not self._over.wait(every_s):
            try:
                self.ship()
            except (ThreatspecError, OSError):
                continue  # close() tells, if it is still so

    def close(self) -> None:
        """Ship the rest. Raises ThreatspecError TS-STORAGE."""
        self._over.set()
        if self._thread:
            self._thread.join()
        self.ship()

    def when_shipped(self, call: Callable[[], None]) -> None:
        """Call once all that the ledger holds now is in the storage, perhaps in another thread."""
        self._later.append(call)

    def ship(self) -> None:
        """Write all that is new. Raises ThreatspecError TS-STORAGE."""
        with self._busy:
            due = len(self._later)
            self._ship_entries()
            self._ship_plan()
            for call in self._later[:due]:
                call()
            del self._later[:due]
        self._ship_progress()

    def _ship_plan(self) -> None:
        """After the first segment: where there is a plan, there is also when it was frozen."""
        if not self._planned and "plan.json" not in self._storage:
            self._storage.write("plan.json", (self._folder / "plan.json").read_bytes())
        self._planned = True

    def _ship_entries(self) -> None:
        try:
            self._ship_news()
        except sqlite3.Error as error:
            text = f"{self._folder}/ledger.sqlite cannot be read: {error}"
            raise ThreatspecError("TS-RECORDS", f"{text}; nothing more is shipped") from error

    def _ship_news(self) -> None:
        with _reading(self._folder) as db:
            for entries in _pieces(_news(db, *self._shipped())):
                data = segment_bytes(self._number + 1, self._before, entries)
                self._segments.write(segment_name(self._number + 1), data)
                self._number += 1
                self._before = digest_of(data)
                for entry in entries:
                    self._note(entry)

    def _ship_progress(self) -> None:
        path = self._folder / "progress.json"
        data = path.read_bytes() if path.exists() else b""
        if data != self._progress:
            self._storage.write("progress.json", data)
            self._progress = data


class _reading:
    """A connection of its own, that sees one moment of the ledger."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "ledger.sqlite"

    def __enter__(self) -> sqlite3.Connection:
        self._db = sqlite3.connect(f"{self._path.resolve().as_uri()}?mode=ro", uri=True)
        self._db.execute("BEGIN")
        return self._db

    def __exit__(self, *exc: object) -> None:
        self._db.close()


def _has(db: sqlite3.Connection, entry: dict[str, Any]) -> bool:
    found = next(_news(db, entry["n"] - 1, entry["n"]), None) if "attempt" in entry else None
    if "event" in entry:
        found = next(_events(db, entry["n"] - 1), None)
    return found is not None and all(found.get(key) == value for key, value in entry.items())


def _news(db: sqlite3.Connection, attempts: int, events: int) -> Iterator[dict[str, Any]]:
    """Attempts, each with its result if it is final, then events."""
    names = ("n", "trial", "worker", "started", "ended", "status", "final", "code", "message")
    query = f"SELECT {', '.join(names)} FROM attempts WHERE n > ? ORDER BY n"
    for values in db.execute(query, (attempts,)):
        attempt = dict(zip(names, values, strict=True))
        entry: dict[str, Any] = {"n": attempt.pop("n"), "attempt": attempt}
        if attempt["final"]:
            entry |= _result(db, attempt["trial"])
        yield entry
    yield from _events(db, events)


def _events(db: sqlite3.Connection, after: int) -> Iterator[dict[str, Any]]:
    query = "SELECT n, at, kind, detail FROM events WHERE n > ? ORDER BY n"
    for n, at, kind, detail in db.execute(query, (after,)):
        yield {"n": n, "event": {"at": at, "kind": kind, "detail": detail}}


def _result(db: sqlite3.Connection, trial: str) -> dict[str, Any]:
    [(text,)] = db.execute("SELECT json FROM results WHERE trial = ?", (trial,))
    found = {
        "result": text,
        "rows": db.execute(ROWS, (trial,)).fetchall(),
        "generations": db.execute(REPLIES, (trial,)).fetchall(),
    }
    pictures = pictures_in(db, trial)
    return {**found, "pictures": pictures} if pictures else found


def _pieces(entries: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Lists that are no larger than a segment may be."""
    piece: list[dict[str, Any]] = []
    size = 0
    for entry in entries:
        piece.append(entry)
        size += len(json.dumps(entry))
        if size >= _MOST_BYTES or len(piece) >= _MOST_ENTRIES:
            yield piece
            piece, size = [], 0
    if piece:
        yield piece
