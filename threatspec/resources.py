"""Where shipped content lies: ``_data/`` inside a wheel, the repository root in a checkout."""

from __future__ import annotations

from pathlib import Path

__all__ = ["CONTENT", "PACKAGE", "shipped"]

CONTENT = (
    "attacks",
    "claims",
    "constraints.txt",
    "docs/errors.md",
    "reports/templates",
    "runners",
)
"""Folders and files that travel with the program."""
PACKAGE = Path(__file__).resolve().parent
"""Folder of the program's own modules."""


def shipped(name: str) -> Path:
    """The folder or file of shipped content called ``name`` ("attacks", "docs/errors.md", ...)."""
    packaged = PACKAGE / "_data" / name
    return packaged if packaged.exists() else PACKAGE.parent / name
