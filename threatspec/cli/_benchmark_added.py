"""What was understood of a file of prompts, for people and for machines."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from threatspec.measures.benchmarks import Added

__all__ = ["added_data", "added_lines"]

_SLICE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
"""Values of slices that a predicate can name."""


def added_data(found: Added, card: Path) -> dict[str, Any]:
    """The card, and what of the file it does not read."""
    return {
        "schema": "threatspec/benchmark-added/v1",
        "card": str(card),
        "written": found.data,
        "splits": dict(Counter(item.split for item in found.items)),
        "unread": list(found.unread),
    }


def added_lines(found: Added, file: Path, card: Path) -> Iterator[str]:
    """What was understood, what was not, and how the benchmark is used."""
    splits = Counter(str(item.split) for item in found.items)
    yield f"{found.card.name}: {len(found.items)} prompts ({_counts(splits)})"
    for field, column in _columns(found):
        yield f"  {field:<12} column {column}"
    for key in dict.fromkeys(key for item in found.items for key in item.all_slices):
        values = Counter(i.all_slices[key] for i in found.items if key in i.all_slices)
        shown = f"{len(values)} values, {min(values.values())} to {max(values.values())} prompts"
        yield f"  slice {key:<6} {shown}"
        if unnamed := [value for value in values if not _SLICE.fullmatch(value)]:
            yield f"    {len(unnamed)} of them hold blanks or signs that no predicate can name"
    if found.unread:
        yield f"  not read: {', '.join(found.unread)}"
    yield from _notes(found)
    yield f"wrote {card}"
    yield _use(found, file)


def _columns(found: Added) -> Iterator[tuple[str, str]]:
    for field, column in found.data.get("columns", {}).items():
        if field == "slices":
            continue
        how = f" ({found.card.right})" if field == "right" else ""
        yield field, (", ".join(column) if isinstance(column, list) else column) + how


def _notes(found: Added) -> Iterator[str]:
    if found.card.licence == "unknown" and found.about is None:
        yield "  the licence is unknown; say it with --licence, or in the card"
    expected = found.about.prompts if found.about else None
    if found.about and expected not in {None, len(found.items)}:
        yield f"  {found.about.name} is described with {expected} prompts, not {len(found.items)}"
    if found.card.null_rows:
        yield f"  {found.card.null_rows} rows ask nothing and are left out"
    if found.card.gated:
        yield "  gated: keep the file out of version control and out of what you publish"
    if not any(item.answer for item in found.items):
        yield "  without answers: nothing can be trained on these prompts, or prefilled"


def _use(found: Added, file: Path) -> str:
    from threatspec.measures.benchmarks import copies_of

    name = found.card.description
    if name is None:
        return f"use it as `benchmark: file:PATH`, PATH from your claims file to {file.name}"
    known = [path.resolve() for path, _ in copies_of(name, Path.cwd())]
    if any(path.parent == file.resolve().parent for path in known):
        return f"use it as `benchmark: {name}`"
    return f"move it below the workspace's claims folder to use it as `benchmark: {name}`"


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{n} {name}" for name, n in counts.items())
