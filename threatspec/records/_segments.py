"""Segments: numbered pieces of a ledger in storage, so that a lost machine loses no campaign.

A segment (schema ``threatspec/segment/v1``) is gzipped JSON lines: a header with its number and
the sha256 of the segment before it, then the attempts and events that have come since. A gap or a
changed segment is noticed; the last segments may be missing, and their trials run again.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from threatspec.errors import ThreatspecError
from threatspec.records._storage import Storage

__all__ = ["FIRST", "Segment", "digest_of", "read_segments", "segment_bytes", "segment_name"]

_SCHEMA = "threatspec/segment/v1"
FIRST = ""
"""What stands for the segment before the first."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment: its number, its own digest, and what it carries, in the order of the ledger."""

    number: int
    digest: str
    entries: tuple[dict[str, Any], ...]


def segment_name(number: int) -> str:
    """Such as `000001.jsonl.gz`."""
    return f"{number:06d}.jsonl.gz"


def segment_bytes(number: int, before: str, entries: list[dict[str, Any]]) -> bytes:
    """A segment as it is stored; `before` is the digest of the one before it."""
    header = {"schema": _SCHEMA, "segment": number, "before": before}
    lines = (json.dumps(line, sort_keys=True) for line in (header, *entries))
    return gzip.compress("\n".join(lines).encode(), mtime=0)


def digest_of(data: bytes) -> str:
    """What the next segment names."""
    return hashlib.sha256(data).hexdigest()


def read_segments(place: Storage, mirror: Storage | None = None) -> Iterator[Segment]:
    """Segments in order, each checked against the one before it.

    Args:
        place: the folder of segments.
        mirror: where they are kept as well, and read from if they are there.

    Raises ThreatspecError TS-STORAGE for a gap or a segment that was changed.
    """
    numbers = sorted({_number(name) for name in place.names()} - {0})
    before = FIRST
    for expected, number in enumerate(numbers, start=1):
        if number != expected:
            raise _broken(place, expected, "is missing")
        segment = _mirrored(place, mirror, number, before)
        before = segment.digest
        yield segment


def _mirrored(place: Storage, mirror: Storage | None, number: int, before: str) -> Segment:
    """A mirrored segment that was damaged since is fetched again."""
    name = segment_name(number)
    if mirror is not None and name in mirror:
        try:
            return _segment(mirror, number, before, mirror.read(name))
        except ThreatspecError:
            mirror.remove(name)
    data = place.read(name)
    if mirror is not None:
        mirror.write(name, data)
    return _segment(place, number, before, data)


def _number(name: str) -> int:
    """0 for a file that is no segment, e.g. one that is being written."""
    stem = name.removesuffix(".jsonl.gz")
    return int(stem) if stem != name and stem.isdecimal() else 0


def _segment(place: Storage, number: int, before: str, data: bytes) -> Segment:
    try:
        header, *entries = map(json.loads, gzip.decompress(data).splitlines())
        fits = (header["schema"], header["segment"], header["before"])
    except (OSError, EOFError, ValueError, KeyError, TypeError):
        raise _broken(place, number, "cannot be read") from None
    if fits != (_SCHEMA, number, before):
        raise _broken(place, number, "does not follow the one before it")
    return Segment(number, digest_of(data), tuple(entries))


def _broken(place: Storage, number: int, what: str) -> ThreatspecError:
    text = f"segment {number} in {place.url} {what}; restore the storage from a copy"
    return ThreatspecError("TS-STORAGE", f"{text}, or run with another `storage`")
