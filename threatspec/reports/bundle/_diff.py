"""Two campaigns compared place by place: what is asked differently, and what was found."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from threatspec.reports._visible import one_line, shortened
from threatspec.reports.bundle._sides import Side, read_side
from threatspec.reports.bundle._values import ABSENT, Change, changes

__all__ = ["Change", "diff", "diff_json", "diff_lines"]

_LONGEST = 120
_ANOTHER = "another measure: its counts are not compared"


def diff(old: Path, new: Path) -> tuple[Change, ...]:
    """Everything in which two claims files, results folders or bundles differ.

    Findings are compared where both have them, counts where both mean the same measure.
    Raises SpecErrors or ThreatspecError for what cannot be read.
    """
    one, other = read_side(old), read_side(new)
    same, different = _measures(one, other)
    found = [*changes(one.asked(), other.asked()), *different]
    if one.plan and other.plan:
        found += changes(one.found(same), other.found(same))
    return tuple(found)


def diff_json(found: tuple[Change, ...]) -> str:
    """`threatspec/diff/v1`. ASCII only, so control characters stay escapes."""
    data = {
        "schema": "threatspec/diff/v1",
        "equal": not found,
        "differences": [_entry(change) for change in found],
    }
    return json.dumps(data, indent=1, allow_nan=False)


def diff_lines(found: tuple[Change, ...]) -> Iterator[str]:
    """A line for each difference: `+` added, `-` removed, `~` changed."""
    for change in found:
        sign = {"added": "+", "removed": "-"}.get(_kind(change), "~")
        values = " -> ".join(_short(v) for v in (change.old, change.new) if v != ABSENT)
        yield one_line(f"{sign} {change.path}: {values}")


def _measures(one: Side, other: Side) -> tuple[frozenset[str], list[Change]]:
    """Measures of one identity on both sides, and a change for each of the others."""
    if not one.plan or not other.plan:
        return frozenset(), []
    mine, theirs = one.plan.measures, other.plan.measures
    shared = [name for name in mine if name in theirs]
    same = frozenset(name for name in shared if mine[name].id == theirs[name].id)
    different = [
        Change(f"identity of {name} ({_ANOTHER})", mine[name].id, theirs[name].id)
        for name in shared
        if name not in same
    ]
    return same, different


def _kind(change: Change) -> str:
    if change.old == ABSENT:
        return "added"
    return "removed" if change.new == ABSENT else "changed"


def _entry(change: Change) -> dict[str, Any]:
    sides = {"old": change.old, "new": change.new}
    there = {name: value for name, value in sides.items() if value != ABSENT}
    return {"path": change.path, "kind": _kind(change), **there}


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return shortened(text, _LONGEST)
