"""Plain data compared place by place."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["ABSENT", "Change", "changes"]

ABSENT = "(absent)"
"""What stands for a value that one side does not have."""


@dataclass(frozen=True, slots=True)
class Change:
    """One place at which two documents differ."""

    path: str
    """Keys and indices from the top, joined by dots."""
    old: Any
    new: Any


def changes(old: Any, new: Any, path: str = "", *, within: float = 0.0) -> Iterator[Change]:
    """Places at which `new` differs from `old`, in the order of `old`, then of `new`.

    Args:
        old: mappings, lists and scalars.
        new: the same.
        path: where both stand.
        within: by how much numbers that are not whole may differ, relatively.
    """
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys((*old, *new)):
            at = f"{path}.{key}" if path else str(key)
            yield from changes(old.get(key, ABSENT), new.get(key, ABSENT), at, within=within)
    elif _listed(old) and _listed(new):
        for index in range(max(len(old), len(new))):
            mine, theirs = (side[index] if index < len(side) else ABSENT for side in (old, new))
            yield from changes(
                mine, theirs, f"{path}.{index}" if path else str(index), within=within
            )
    elif not _equal(old, new, within):
        yield Change(path, old, new)


def _listed(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _equal(old: Any, new: Any, within: float) -> bool:
    if isinstance(old, bool) or isinstance(new, bool):
        return old is new
    if within and isinstance(old, float) and isinstance(new, (int, float)):
        return math.isclose(old, new, rel_tol=within, abs_tol=within * 1e-3)
    return bool(old == new)
