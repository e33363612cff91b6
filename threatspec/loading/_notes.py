"""What is worth saying of a spec that is valid all the same."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

from threatspec.loading._migrate import FORMAT_VERSION
from threatspec.loading._spec import LoadedSpec

__all__ = ["notes"]


def notes(loaded: LoadedSpec, today: datetime.date) -> Iterator[str]:
    """One line each: files of an older format, evidence that has expired."""
    for place, version in loaded.older.items():
        text = f"format {version} was read as format {FORMAT_VERSION}; docs/language.md says "
        yield f"{place}: note: {text}what was renamed"
    governance = loaded.spec.governance
    if governance is not None and governance.expired(today):
        where = loaded.source.where(("governance", "expires"))
        text = f"the evidence expired on {governance.expires}; only a witness decides a claim now"
        yield f"{where}: note: {text}"
