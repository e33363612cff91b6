"""Bundles: a campaign in one file, and what can be told of it without running anything."""

from threatspec.reports.bundle._bundle import Bundle
from threatspec.reports.bundle._open import open_bundle
from threatspec.reports.bundle._write import Written, write_bundle

__all__ = ["Bundle", "Written", "open_bundle", "write_bundle"]
