"""Bundles: a campaign in one file, and what can be told of it without running anything."""

from threatspec.reports.bundle._bundle import Bundle
from threatspec.reports.bundle._checks import Check, Status, Verification
from threatspec.reports.bundle._diff import Change, diff, diff_json, diff_lines
from threatspec.reports.bundle._open import open_bundle
from threatspec.reports.bundle._verify import verify_bundle
from threatspec.reports.bundle._write import Written, write_bundle

__all__ = [
    "Bundle",
    "Change",
    "Check",
    "Status",
    "Verification",
    "Written",
    "diff",
    "diff_json",
    "diff_lines",
    "open_bundle",
    "verify_bundle",
    "write_bundle",
]
