"""What is worth saying of a spec that is valid all the same."""

from __future__ import annotations

from collections.abc import Iterator

from threatspec.loading._migrate import FORMAT_VERSION
from threatspec.loading._spec import LoadedSpec

__all__ = ["notes"]


def notes(loaded: LoadedSpec) -> Iterator[str]:
    """One line for each file of an older format."""
    for place, version in loaded.older.items():
        text = f"format {version} was read as format {FORMAT_VERSION}; docs/language.md says "
        yield f"{place}: note: {text}what was renamed"
