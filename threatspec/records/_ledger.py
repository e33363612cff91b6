"""The ledger: one SQLite file per campaign, append-only, written by the driver alone.

One transaction per finished trial: a process killed at any point loses at most the trials that
were running. `results` is keyed by trial id, which is derived from all that determines the result,
so nothing can be overwritten by something else.
"""

from __future__ import annotations

import fcntl
import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from threatspec.errors import ExitCode, ThreatspecError
from threatspec.records._disk import disk_full, says_full
from threatspec.records._marks import Marker
from threatspec.records._pictures import Picture
from threatspec.records._plan import Plan
from threatspec.records._registration import Registration, claim_digests, register
from threatspec.records._results import Generation, Outcome, Row, TrialResult

__all__ = ["Attempt", "Ledger"]

_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE trials (id TEXT PRIMARY KEY, kind TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE attempts (n INTEGER PRIMARY KEY, trial TEXT NOT NULL, worker TEXT NOT NULL,
    started REAL NOT NULL, ended REAL NOT NULL, status TEXT NOT NULL, final INTEGER NOT NULL,
    code TEXT NOT NULL, message TEXT NOT NULL);
CREATE TABLE results (trial TEXT PRIMARY KEY, json TEXT NOT NULL);
CREATE TABLE rows (trial TEXT NOT NULL, item TEXT NOT NULL, cluster TEXT NOT NULL,
    outcome TEXT NOT NULL, detail TEXT NOT NULL, more TEXT NOT NULL, PRIMARY KEY (trial, item));
CREATE TABLE generations (trial TEXT NOT NULL, item TEXT NOT NULL, prompt TEXT NOT NULL,
    attacker TEXT NOT NULL, reply TEXT NOT NULL, outcome TEXT, variant TEXT NOT NULL,
    more TEXT NOT NULL, PRIMARY KEY (trial, item, variant));
CREATE TABLE events (n INTEGER PRIMARY KEY, at REAL NOT NULL, kind TEXT NOT NULL,
    detail TEXT NOT NULL);
"""
_PICTURES = "CREATE TABLE IF NOT EXISTS pictures (trial TEXT NOT NULL, json TEXT NOT NULL);"
"""Made by whoever writes: a ledger that was begun before there were any has no table of them."""
ROWS = "SELECT item, cluster, outcome, detail, more FROM rows WHERE trial = ? ORDER BY rowid"
REPLIES = (
    "SELECT item, prompt, attacker, reply, outcome, variant, more FROM generations"
    " WHERE trial = ? ORDER BY rowid"
)
PICTURES = "SELECT json FROM pictures WHERE trial = ? ORDER BY rowid"
_ATTEMPT = ("trial", "worker", "started", "ended", "status", "final", "code", "message")
_MORE_OF_ROW = {"raw", "asked", "hits"}
_MORE_OF_REPLY = {"detail", "scores"}
"""Fields that few rows and replies have: kept together as JSON, empty where there are none."""
_ELSEWHERE = {"rows", "generations", "pictures"}
"""Fields of a result that stand in tables of their own."""
_FORMAT = "threatspec/ledger/v4"


class Attempt:
    """Who ran a trial, and when (seconds since the epoch)."""

    __slots__ = ("ended", "started", "worker")

    def __init__(self, worker: str, started: float, ended: float) -> None:
        self.worker, self.started, self.ended = worker, started, ended


class Ledger:
    """Records of one campaign in `FOLDER/ledger.sqlite`, its plan in `FOLDER/plan.json`."""

    def __init__(
        self, folder: Path, connection: sqlite3.Connection, plan: Plan, lock: IO[str] | None
    ) -> None:
        self.folder = folder
        self.plan = plan
        self._db = connection
        self._lock = lock

    @classmethod
    def create(cls, folder: Path, plan: Plan) -> Ledger:
        """Write the plan down, or open the ledger that already has it.

        Raises ThreatspecError TS-RUN-OTHER-PLAN if the folder belongs to another plan and
        TS-RUN-LOCKED if another process is writing to it.
        """
        begun = (folder / "plan.json").exists()
        ledger = cls.rebuild(folder, plan)
        if not begun:
            runs = register(folder.resolve().parent, plan)
            ledger.event("frozen", plan=plan.id, claims=claim_digests(plan), runs=runs)
        return ledger

    @classmethod
    def rebuild(cls, folder: Path, plan: Plan) -> Ledger:
        """The ledger of a plan that was begun elsewhere, to be filled by `restored`.

        Raises ThreatspecError TS-RUN-OTHER-PLAN and TS-RUN-LOCKED.
        """
        with _disk():
            folder.mkdir(parents=True, exist_ok=True)
        lock = _lock(folder)
        with _released_on_error(lock), _disk():
            if not (folder / "plan.json").exists():
                return cls(folder, _fresh(folder, plan), plan, lock)
            found = _read_plan(folder)
            if found.id != plan.id:
                raise _other_plan(folder, plan, found)
            return cls._open(folder, lock)

    @classmethod
    def open(cls, folder: Path, *, writable: bool = False) -> Ledger:
        """Open an existing ledger; only one process may open it writable."""
        if not writable:
            return cls._open(folder, None)
        _read_plan(folder)  # no lock is left behind where there is no campaign
        lock = _lock(folder)
        with _released_on_error(lock):
            return cls._open(folder, lock)

    @classmethod
    def _open(cls, folder: Path, lock: IO[str] | None) -> Ledger:
        plan = _read_plan(folder)
        path = folder / "ledger.sqlite"
        if not path.exists():
            raise _broken(f"{path} must exist beside plan.json, but is missing")
        db = _connect(path, writable=lock is not None)
        try:
            _check_meta(folder, db, plan)
            if lock is not None:
                with _disk():
                    db.execute(_PICTURES)
        except BaseException:
            db.close()
            raise
        return cls(folder, db, plan, lock)

    def close(self) -> None:
        """Close the file and give up the lock."""
        self._db.close()
        if self._lock:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def record(self, result: TrialResult, attempt: Attempt, *, final: bool = True) -> None:
        """Write one attempt down; a final one is the trial's result for good."""
        with _disk(), self._db:
            self._db.execute(
                "INSERT INTO attempts (trial, worker, started, ended, status, final, code, message)"
                " VALUES (?,?,?,?,?,?,?,?)",
                (result.trial, attempt.worker, attempt.started, attempt.ended, result.status,
                 int(final), result.code, result.message),
            )  # fmt: skip
            if final:
                self._insert(result)

    def _insert(self, result: TrialResult) -> None:
        head = result.model_dump_json(exclude=_ELSEWHERE, exclude_defaults=True)
        self._db.execute("INSERT INTO results VALUES (?,?)", (result.trial, head))
        self._db.executemany(
            "INSERT INTO rows VALUES (?,?,?,?,?,?)",
            [
                (result.trial, r.item, r.cluster, r.outcome, r.detail, _more(r, _MORE_OF_ROW))
                for r in result.rows
            ],
        )
        self._db.executemany(
            "INSERT INTO generations VALUES (?,?,?,?,?,?,?,?)",
            [
                (
                    result.trial,
                    g.item,
                    g.prompt,
                    g.attacker,
                    g.reply,
                    g.outcome,
                    g.variant,
                    _more(g, _MORE_OF_REPLY),
                )
                for g in result.generations
            ],
        )
        shown = [(result.trial, picture.model_dump_json()) for picture in result.pictures]
        self._db.executemany("INSERT INTO pictures VALUES (?,?)", shown)

    def event(self, kind: str, **detail: Any) -> None:
        """Note something that happened."""
        with _disk(), self._db:
            self._db.execute(
                "INSERT INTO events (at, kind, detail) VALUES (?,?,?)",
                (time.time(), kind, json.dumps(detail, sort_keys=True)),
            )

    def events(self, kind: str) -> list[dict[str, Any]]:
        """All events of one kind, oldest first."""
        query = "SELECT at, detail FROM events WHERE kind = ? ORDER BY n"
        with self._readable():
            found = self._db.execute(query, (kind,))
            return [{"at": at, **json.loads(detail)} for at, detail in found]

    def history(self) -> list[dict[str, Any]]:
        """Events of all kinds, oldest first, each with its kind and detail."""
        query = "SELECT at, kind, detail FROM events ORDER BY n"
        with self._readable():
            found = self._db.execute(query)
            return [{"at": at, "kind": kind, "detail": json.loads(d)} for at, kind, d in found]

    def results(self) -> dict[str, TrialResult]:
        """Final results by trial id, without their rows, generations and pictures."""
        with self._readable():
            found = self._db.execute("SELECT trial, json FROM results ORDER BY rowid")
            return {trial: TrialResult.model_validate_json(text) for trial, text in found}

    def restored(self, entries: Iterable[Mapping[str, Any]]) -> None:
        """Take over what segments carry (`Shipper`), as it was; what is there already is left.

        Raises ThreatspecError TS-STORAGE, and takes over nothing, where something else is there.
        """
        with _disk(), self._db:
            for entry in entries:
                if "attempt" in entry:
                    self._restore_attempt(entry)
                else:
                    event = entry["event"]
                    self._take("events", (entry["n"], event["at"], event["kind"], event["detail"]))

    def _restore_attempt(self, entry: Mapping[str, Any]) -> None:
        attempt = entry["attempt"]
        values = (entry["n"], *(attempt[name] for name in _ATTEMPT))
        if self._take("attempts", values) and "result" in entry:
            trial = attempt["trial"]
            self._db.execute("INSERT INTO results VALUES (?,?)", (trial, entry["result"]))
            for table, size in (("rows", 6), ("generations", 8), ("pictures", 2)):
                marks = ",".join("?" * size)
                found = ((trial, *values) for values in entry.get(table, ()))
                self._db.executemany(f"INSERT INTO {table} VALUES ({marks})", found)

    def _take(self, table: str, values: tuple[Any, ...]) -> bool:
        """Whether it was not there yet."""
        there = self._db.execute(f"SELECT * FROM {table} WHERE n = ?", values[:1]).fetchone()
        if there not in (None, values):
            text = f"{self.folder} holds another run of the plan than the storage; go on with one "
            raise ThreatspecError("TS-STORAGE", f"{text}of them, or use another --out")
        if there is None:
            marks = ",".join("?" * len(values))
            self._db.execute(f"INSERT INTO {table} VALUES ({marks})", values)
        return there is None

    def rows(self, trial: str) -> tuple[Row, ...]:
        """Rows of one judging trial, in the order in which they were read."""
        with self._readable():
            return tuple(
                Row(item=item, cluster=cluster, outcome=Outcome(outcome), detail=detail,
                    **(json.loads(more) if more else {}))
                for item, cluster, outcome, detail, more in self._db.execute(ROWS, (trial,))
            )  # fmt: skip

    def marks(self) -> dict[str, bytes]:
        """Outcomes of every judging trial, one letter per prompt (`records.MARKS`)."""
        query = "SELECT trial, item, outcome FROM rows ORDER BY rowid"
        with self._readable():
            try:
                return Marker(self.plan).marks(self._db.execute(query))
            except ThreatspecError as error:
                raise ValueError(error.message) from None

    def generations(self, trial: str) -> tuple[Generation, ...]:
        """Replies of one generating trial, in the order of the benchmark."""
        with self._readable():
            return tuple(map(_reply, self._db.execute(REPLIES, (trial,))))

    def pictures(self, trial: str) -> tuple[Picture, ...]:
        """Images that a generating trial has shown, prompt by prompt."""
        with self._readable():
            found = pictures_in(self._db, trial)
            return tuple(Picture.model_validate_json(text) for [text] in found)

    def registration(self) -> Registration:
        """What was written down of the plan before anything ran."""
        frozen = self.events("frozen")
        if not frozen:
            return Registration()
        began = (
            "SELECT min(started) FROM attempts JOIN trials ON trials.id = attempts.trial "
            "WHERE trials.kind = 'generate'"
        )
        with self._readable():
            [(first,)] = self._db.execute(began)
            at = frozen[0].pop("at")
            return Registration(**frozen[0], frozen_at=at, first_row_at=first or 0.0)

    def attempts(self) -> list[dict[str, Any]]:
        """Every attempt, oldest first."""
        query = f"SELECT {', '.join(_ATTEMPT)} FROM attempts ORDER BY n"
        with self._readable():
            return [dict(zip(_ATTEMPT, values, strict=True)) for values in self._db.execute(query)]

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """Turn records that cannot be read back into a coded error."""
        try:
            yield
        except (sqlite3.Error, ValueError) as error:
            raise _unreadable(self.folder / "ledger.sqlite", error) from error


def pictures_in(db: sqlite3.Connection, trial: str) -> list[tuple[str]]:
    """Pictures of a trial as they are kept; none in a ledger that has no table of them."""
    there = db.execute("SELECT 1 FROM sqlite_master WHERE name = 'pictures'").fetchone()
    return db.execute(PICTURES, (trial,)).fetchall() if there else []


def _more(record: Row | Generation, names: set[str]) -> str:
    if isinstance(record, Row) and not record.raw and record.hits is None:
        return ""  # nearly all of many
    if isinstance(record, Generation) and not record.detail and not record.scores:
        return ""
    return record.model_dump_json(include=names, exclude_defaults=True)


def _reply(values: Sequence[Any]) -> Generation:
    item, prompt, attacker, reply, outcome, variant, more = values
    found = json.loads(more) if more else {}
    return Generation(
        item=item,
        prompt=prompt,
        attacker=attacker,
        reply=reply,
        outcome=Outcome(outcome) if outcome else None,
        variant=variant,
        detail=found.get("detail", ""),
        scores=tuple(found.get("scores", ())),
    )


def _read_plan(folder: Path) -> Plan:
    path = folder / "plan.json"
    try:
        return Plan.model_validate_json(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise ThreatspecError(
            "TS-NO-RUN", f"{folder} must be a results folder with a plan.json, but has none",
            exit_code=ExitCode.USAGE,
        ) from None  # fmt: skip
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None


def _other_plan(folder: Path, plan: Plan, found: Plan) -> ThreatspecError:
    return ThreatspecError(
        "TS-RUN-OTHER-PLAN",
        f"{folder} must belong to this plan ({plan.id}), but holds {found.id}; choose another "
        "--out, or `threatspec resume` to go on with what is there",
        exit_code=ExitCode.USAGE,
    )


def _check_meta(folder: Path, db: sqlite3.Connection, plan: Plan) -> None:
    try:
        stored = dict(db.execute("SELECT key, value FROM meta"))
    except sqlite3.DatabaseError as error:
        raise _unreadable(folder / "ledger.sqlite", error) from None
    if stored.get("schema") != _FORMAT:
        raise _broken(f"{folder}/ledger.sqlite has the format {stored.get('schema')}")
    if stored.get("plan") != plan.id:
        raise _broken(f"{folder}/plan.json was changed after the run began")


def _unreadable(path: Path, error: Exception) -> ThreatspecError:
    return _broken(f"{path} cannot be read: {str(error).splitlines()[0]}")


def _broken(what: str) -> ThreatspecError:
    remedy = "restore the folder from a copy, or run again with another --out"
    return ThreatspecError("TS-RECORDS", f"{what}; {remedy}")


def _fresh(folder: Path, plan: Plan) -> sqlite3.Connection:
    path = folder / "ledger.sqlite"
    path.unlink(missing_ok=True)  # left by a process that died before the plan was written
    db = _connect(path, writable=True)
    db.executescript(_TABLES + _PICTURES)
    with db:
        meta = {"schema": _FORMAT, "plan": plan.id}
        db.executemany("INSERT INTO meta VALUES (?,?)", meta.items())
        kinds = ((trial.id, trial.kind) for trial in plan.trials.values())
        db.executemany("INSERT INTO trials VALUES (?,?)", kinds)
    temporary = folder / "plan.json.tmp"
    temporary.write_text(plan.text, encoding="utf-8")
    temporary.replace(folder / "plan.json")  # last: its presence says that the ledger is complete
    return db


def _connect(path: Path, writable: bool) -> sqlite3.Connection:
    mode = "rwc" if writable else "ro"
    try:
        db = sqlite3.connect(f"{path.resolve().as_uri()}?mode={mode}", uri=True)
    except sqlite3.Error as error:
        raise _unreadable(path, error) from None
    if not writable:
        return db
    try:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=NORMAL")
    except sqlite3.DatabaseError as error:
        db.close()
        if "full" in str(error):
            raise disk_full() from None
        raise _unreadable(path, error) from None
    return db


def _lock(folder: Path) -> IO[str]:
    with _disk():
        handle = (folder / "ledger.lock").open("w")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.close()
        raise ThreatspecError(
            "TS-RUN-LOCKED", f"{folder} must have one writer, but another process is running it"
        ) from None
    return handle


@contextmanager
def _released_on_error(lock: IO[str]) -> Iterator[None]:
    try:
        yield
    except BaseException:
        lock.close()
        raise


@contextmanager
def _disk() -> Iterator[None]:
    """Turn a full disk into a coded error; what was committed stays."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if "full" in str(error):
            raise disk_full() from error
        raise _unwritable("ledger", error) from error
    except OSError as error:
        if says_full(error):
            raise disk_full() from error
        raise _unwritable("results folder", error) from error


def _unwritable(what: str, error: Exception) -> ThreatspecError:
    text = f"the {what} cannot be written: {error}; change that, or choose another --out"
    return ThreatspecError("TS-RECORDS", text)
