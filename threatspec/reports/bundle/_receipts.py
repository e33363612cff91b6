"""Receipts: files of others that show that a plan was there at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from threatspec.reports.bundle._checks import Check, found
from threatspec.reports.bundle._matter import Matter

__all__ = ["receipt_checks"]

_HOW = "`openssl ts -verify -data plan.json -in FILE` for a time stamp, `git tag -v` for a tag"


def receipt_checks(matter: Matter, more: Mapping[str, bytes]) -> Iterator[Check]:
    """Whether each file names the plan. Whoever signed it is not looked at."""
    for name, data in (*matter.bundle.receipts.items(), *more.items()):
        covers = _covers(data, matter.bundle.plan_sha256)
        fault = f"it does not hold the sha256 of plan.json ({matter.bundle.plan_sha256})"
        text = f"it covers this plan; its signature was not checked, which {_HOW} does"
        yield found(f"receipt {name}", [] if covers else [fault], text)


def _covers(data: bytes, digest: str) -> bool:
    """As text in hex digits, or as the bytes themselves, as RFC 3161 has it."""
    return digest.encode() in data.lower() or bytes.fromhex(digest) in data
