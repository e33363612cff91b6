"""Relative names in a file of another folder, as they read from the folder of the first file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

__all__ = ["relocated"]

_ANY = "*"
_ROWS = frozenset({"file", "cifar10", "gtsrb", "imagenet"})
"""Kinds of benchmarks that are files or folders; `KIND/not-CLASS` leaves a class of images out."""
_NAMES: tuple[tuple[tuple[str, ...], frozenset[str]], ...] = (
    *(((*at, key), frozenset({"path"})) for at in (("subject",), ("subjects", _ANY))
      for key in ("model", "undefended", "control")),
    (("measures", _ANY, "benchmark"), _ROWS),
    (("adversaries", _ANY, "data", _ANY, "from"), _ROWS),
    (("instruments", _ANY, _ANY), frozenset({"file"})),
)  # fmt: skip
"""Where the language takes names of files, and what stands before the colon of such a name."""


def relocated(data: dict[str, Any], home: Path, folder: Path) -> dict[str, Any]:
    """`data` of a file in `home`, with its relative names starting in `folder`."""
    home = Path(os.path.abspath(home))
    if home == folder:
        return data
    for way, kinds in _NAMES:
        data = _changed(data, way, kinds, os.path.relpath(home, folder))
    return data


def _changed(value: Any, way: tuple[str, ...], kinds: frozenset[str], step: str) -> Any:
    if not way:
        return _name(value, kinds, step)
    if not isinstance(value, dict):
        return value
    return {
        key: _changed(inner, way[1:], kinds, step) if way[0] in (_ANY, key) else inner
        for key, inner in value.items()
    }


def _name(value: Any, kinds: frozenset[str], step: str) -> Any:
    kind, colon, name = value.partition(":") if isinstance(value, str) else ("", "", "")
    if not colon or kind.partition("/not-")[0] not in kinds:
        return value
    if name.startswith("~") or os.path.isabs(name):
        return value
    return f"{kind}:{os.path.normpath(os.path.join(step, name))}"
