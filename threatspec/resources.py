"""Where shipped content lies: ``_data/`` inside a wheel, the repository root in a checkout."""

from __future__ import annotations

from pathlib import Path

__all__ = ["shipped"]

_PACKAGE = Path(__file__).resolve().parent


def shipped(name: str) -> Path:
    """The folder or file of shipped content called ``name`` ("attacks", "docs/errors.md", ...)."""
    packaged = _PACKAGE / "_data" / name
    return packaged if packaged.exists() else _PACKAGE.parent / name
