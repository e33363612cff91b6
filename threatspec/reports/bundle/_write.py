"""Writing a bundle: member by member, never a whole campaign in memory."""

from __future__ import annotations

import contextlib
import datetime
import errno
import hashlib
import json
import os
import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from threatspec import __version__
from threatspec.campaign import source_digest
from threatspec.errors import ExitCode, ThreatspecError
from threatspec.records import Ledger
from threatspec.reports.bundle._format import (
    MANIFEST,
    MAX_BYTES,
    MAX_LINE_VALUES,
    MAX_MEMBERS,
    MAX_RECEIPT,
    MAX_VALUES,
    MEMBER,
    RECEIPTS,
    FileEntry,
    Manifest,
    Program,
    schema_of,
    values_in,
)
from threatspec.reports.bundle._lines import LabelsHead, MarksLine, RegistrationFile
from threatspec.reports.bundle._pause import uncollected
from threatspec.reports.bundle._snapshot import Snapshot, take
from threatspec.schema import Model

__all__ = ["Written", "this_program", "write_bundle"]

_JUDGING = ("claims", "records", "schema", "statistics")
"""Rooms that turn records into verdicts."""
_LEVEL = 3
"""Most of a bundle are hashes, which no effort makes smaller."""
_COUNTED = {
    "plan.json": MAX_VALUES,
    "results.jsonl": MAX_LINE_VALUES,
    "verdict.json": MAX_VALUES,
}


@dataclass(frozen=True, slots=True)
class Written:
    """A bundle that was written."""

    path: Path
    sha256: str
    size: int
    plan_sha256: str
    """Of plan.json: what a receipt must be over."""
    manifest: Manifest
    notes: tuple[str, ...]
    """What whoever hands it on should know."""


@uncollected()
def write_bundle(
    folder: Path,
    target: Path,
    *,
    with_generations: bool = False,
    receipts: Sequence[Path] = (),
    created: datetime.datetime | None = None,
) -> Written:
    """Write the campaign in `folder` to one file, complete or not at all.

    Args:
        folder: a results folder; its campaign need not be finished.
        target: the file; what is there is replaced.
        with_generations: replies in words too, not only as hashes, and kept images of the user's
            own files, not only of data that anybody has.
        receipts: files that show when the plan was there; they are taken as they are.
        created: time of writing; absent = now. Otherwise equal records give equal bytes.

    Raises ThreatspecError TS-NO-RUN, TS-RECORDS, TS-DISK-FULL, TS-USAGE for a receipt or target
    that cannot be used, TS-BUNDLE if it would be larger than what is read.
    """
    now = created or datetime.datetime.now(datetime.UTC)
    given = dict(map(_receipt, receipts))
    if len(given) < len(receipts) or len(given) > MAX_MEMBERS // 2:
        raise _usage(f"receipts must have {MAX_MEMBERS // 2} different names at most")
    with Ledger.open(folder) as ledger:
        found = take(ledger, now)
        members = dict(_members(found, with_generations, given))
        manifest = _replace(target, members, found, now)
    return Written(
        path=target,
        sha256=_file_sha256(target),
        size=target.stat().st_size,
        plan_sha256=next(e.sha256 for e in manifest.files if e.name == "plan.json"),
        manifest=manifest,
        notes=tuple(_notes(found, with_generations)),
    )


def this_program() -> Program:
    """What writes and verifies bundles here."""
    return Program(version=__version__, source=source_digest(*_JUDGING))


def _members(
    found: Snapshot, with_generations: bool, receipts: dict[str, bytes]
) -> Iterator[tuple[str, Iterable[bytes]]]:
    marks = (MarksLine(trial=t, marks=m.decode()) for t, m in sorted(found.marks.items()))
    registration = RegistrationFile(**dict(found.registration))
    yield "attempts.jsonl", map(_line, found.attempts)
    yield "environment.json", (_document(found.environment),)
    yield "events.jsonl", map(_line, found.events)
    if with_generations:
        yield "generations.jsonl", map(_line, found.texts())
    if found.labels:
        head = LabelsHead(plan=found.plan.id, seed=found.seed)
        yield "labels.jsonl", map(_line, (head, *found.labels))
    yield "marks.jsonl", map(_line, marks)
    if any(True for _ in found.pictures(with_generations)):
        yield "pictures.jsonl", map(_line, found.pictures(with_generations))
    yield "plan.json", ((found.ledger.folder / "plan.json").read_bytes(),)
    yield "registration.json", (_document(registration),)
    yield "replies.jsonl", map(_line, found.replies())
    yield "results.jsonl", (_line(result, _HEAD) for result in found.results.values())
    yield "verdict.json", (_document(found.verdict),)
    for name, data in sorted(receipts.items()):
        yield f"{RECEIPTS}{name}", (data,)


_HEAD = frozenset({"rows", "generations", "pictures", "tamper"})
"""What of a result stands elsewhere, or nowhere."""


def _line(model: Model, without: frozenset[str] = frozenset()) -> bytes:
    return model.model_dump_json(by_alias=True, exclude=set(without)).encode() + b"\n"


def _document(model: Model) -> bytes:
    data = model.model_dump(mode="json", by_alias=True)
    return json.dumps(data, indent=1, allow_nan=False).encode() + b"\n"


def _replace(
    target: Path, members: dict[str, Iterable[bytes]], found: Snapshot, now: datetime.datetime
) -> Manifest:
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as file:
            entries = _entries(file, members)
            manifest = _manifest(found, entries, now)
            _add(file, MANIFEST, (_document(manifest),), 0)
        temporary.replace(target)
    except OSError as error:
        raise _cannot(target, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    return manifest


def _entries(file: zipfile.ZipFile, members: dict[str, Iterable[bytes]]) -> list[FileEntry]:
    entries: list[FileEntry] = []
    for name, chunks in members.items():
        entries.append(_add(file, name, chunks, sum(entry.size for entry in entries)))
    return entries


def _add(file: zipfile.ZipFile, name: str, chunks: Iterable[bytes], before: int) -> FileEntry:
    """A member by name has the first day of zip files, so that equal records give equal bytes."""
    digest, size = hashlib.sha256(), 0
    with file.open(name, "w") as member:
        for chunk in _counted(name, chunks):
            digest.update(chunk)
            size += len(chunk)
            if before + size > MAX_BYTES:
                raise _too_large(f"at most {MAX_BYTES:,} bytes")
            member.write(chunk)
    entry: dict[str, Any] = {"schema": schema_of(name) if name != MANIFEST else ""}
    return FileEntry(name=name, sha256=digest.hexdigest(), size=size, **entry)


def _counted(name: str, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """What could not be read back is not written."""
    values = 0
    for chunk in chunks:
        values += values_in(chunk) if name in _COUNTED else 0
        if values > _COUNTED.get(name, 0):
            raise _too_large(f"at most {_COUNTED[name]:,} values in {name}")
        yield chunk


def _too_large(rule: str) -> ThreatspecError:
    text = f"a bundle must have {rule}, but this one has more; leave out --with-generations"
    return ThreatspecError("TS-BUNDLE", f"{text}, or bundle smaller campaigns")


def _manifest(found: Snapshot, entries: list[FileEntry], now: datetime.datetime) -> Manifest:
    return Manifest(
        program=this_program(),
        created=now.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        as_of=found.as_of,
        finished=found.finished,
        plan=found.plan.id,
        files=tuple(entries),
    )


def _notes(found: Snapshot, with_generations: bool) -> Iterator[str]:
    if not found.finished:
        yield "The campaign is not finished; the bundle says so."
    cells = found.plan.cells.values()
    local = dict.fromkeys(c.subject for c in cells if c.subject.startswith("path:"))
    if local:
        names = ", ".join(local)
        yield f"The plan names folders, which cannot be taken out without changing its id: {names}."
    if with_generations:
        yield "It holds replies in words and kept images: look whether these may be handed on."


def _receipt(path: Path) -> tuple[str, bytes]:
    if not re.fullmatch(MEMBER, RECEIPTS + path.name):
        raise _usage(
            f"a receipt must have a plain name (letters, digits, `.`, `_`, `-`), but is called "
            f"{path.name!r}; rename it"
        )
    try:
        with path.open("rb") as file:
            data = file.read(MAX_RECEIPT + 1)
    except OSError as error:
        raise _usage(f"a receipt must be a file, but {path}: {error.strerror or error}") from None
    if len(data) > MAX_RECEIPT:
        raise _usage(f"a receipt must have at most {MAX_RECEIPT:,} bytes, but {path.name} has more")
    return path.name, data


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _cannot(path: Path, error: OSError) -> ThreatspecError:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        text = f"there is no room on the disk for {path}; make room, or write it elsewhere"
        return ThreatspecError("TS-DISK-FULL", text)
    reason = error.strerror or error
    return _usage(f"{path} must be a file that can be written, but: {reason}; choose another -o")


def _usage(text: str) -> ThreatspecError:
    return ThreatspecError("TS-USAGE", text, exit_code=ExitCode.USAGE)
