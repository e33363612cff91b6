"""What a bundle is made of: its members, what is read of them at most, and the manifest."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from threatspec.errors import ThreatspecError
from threatspec.schema import Model

__all__ = [
    "FILES",
    "MANIFEST",
    "MAX_BYTES",
    "MAX_DEPTH",
    "MAX_DOCUMENT",
    "MAX_LINE",
    "MAX_LINE_VALUES",
    "MAX_MEMBERS",
    "MAX_RECEIPT",
    "MAX_VALUES",
    "MEMBER",
    "OPTIONAL",
    "RECEIPTS",
    "SCHEMA",
    "FileEntry",
    "Manifest",
    "Program",
    "limit_of",
    "refused",
    "schema_of",
    "values_in",
]

SCHEMA = "threatspec/bundle/v1"
MANIFEST = "manifest.json"
RECEIPTS = "receipts/"
FILES: Mapping[str, str] = {
    "attempts.jsonl": "threatspec/attempts/v1",
    "environment.json": "threatspec/environment/v1",
    "events.jsonl": "threatspec/events/v1",
    "generations.jsonl": "threatspec/generations/v1",
    "labels.jsonl": "threatspec/labels/v1",
    "marks.jsonl": "threatspec/marks/v1",
    "pictures.jsonl": "threatspec/pictures/v1",
    "plan.json": "threatspec/plan/v2",
    "registration.json": "threatspec/registration/v1",
    "replies.jsonl": "threatspec/replies/v1",
    "results.jsonl": "threatspec/results/v1",
    "verdict.json": "threatspec/verdict/v2",
}
"""Every member but the manifest and receipts, with the format of its content."""
OPTIONAL = frozenset({"generations.jsonl", "labels.jsonl", "pictures.jsonl"})
MEMBER = r"(receipts/)?[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
"""What a member may be called: a plain name, and one folder for receipts."""

MAX_MEMBERS = 256
MAX_BYTES = 2 * 2**30 - 1
"""Of a bundle, and of all its members together when they are unpacked."""
MAX_DOCUMENT = 256 * 2**20
"""Of a member that is read as a whole."""
MAX_RECEIPT = 4 * 2**20
MAX_LINE = 64 * 2**20
"""Of one line of a member that is read line by line."""
MAX_DEPTH = 64
"""Lists and mappings inside one another."""
MAX_VALUES = 10_000_000
"""Values of one JSON document, so that little text cannot take up much memory."""
MAX_LINE_VALUES = 50_000_000
"""The same for all lines of a member together; replies, which are packed, are not counted."""


class Program(Model):
    """What wrote a bundle."""

    version: str
    source: str
    """sha256 over the source that turns records into verdicts."""


class FileEntry(Model):
    """One member, as the manifest has it."""

    name: str
    format: str = Field(alias="schema")
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    size: int = Field(ge=0)


def _instant(text: str) -> str:
    datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ")
    return text


class Manifest(Model):
    """What a bundle says of itself."""

    format: Literal["threatspec/bundle/v1"] = Field(default="threatspec/bundle/v1", alias="schema")
    program: Program
    created: Annotated[str, AfterValidator(_instant)]
    """When the bundle was written, in UTC."""
    as_of: datetime.date
    """Day as of which the claims are answered."""
    finished: bool
    """Whether the campaign had ended."""
    plan: str
    """Id of the plan."""
    files: tuple[FileEntry, ...]


def schema_of(name: str) -> str:
    """Format of a member's content."""
    return "receipt" if name.startswith(RECEIPTS) else FILES[name]


def limit_of(name: str) -> int:
    """How many bytes of a member are read at most."""
    if name.startswith(RECEIPTS):
        return MAX_RECEIPT
    return MAX_BYTES if name.endswith(".jsonl") else MAX_DOCUMENT


def refused(rule: str, value: str) -> ThreatspecError:
    """TS-BUNDLE: a rule that a bundle breaks, and how."""
    remedy = "get the file again, or have it written again by `threatspec bundle`"
    return ThreatspecError("TS-BUNDLE", f"{rule}, but {value}; {remedy}")


def values_in(data: bytes) -> int:
    """At least as many values as a JSON document has; counted without reading it."""
    return data.count(b",") + data.count(b"[") + data.count(b"{")
