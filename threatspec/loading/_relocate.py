"""Relative names in a file of another folder, as they read from the folder of the first file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

__all__ = ["relocated"]

_ANY = "*"
_NAMES: tuple[tuple[tuple[str, ...], str], ...] = (
    *(((*at, key), "path:") for at in (("subject",), ("subjects", _ANY))
      for key in ("model", "undefended", "control")),
    (("measures", _ANY, "benchmark"), "file:"),
    (("adversaries", _ANY, "data", _ANY, "from"), "file:"),
    (("instruments", _ANY, _ANY), "file:"),
)  # fmt: skip
"""Where the language takes names of files, and what such a name begins with."""


def relocated(data: dict[str, Any], home: Path, folder: Path) -> dict[str, Any]:
    """`data` of a file in `home`, with its relative names starting in `folder`."""
    home = Path(os.path.abspath(home))
    if home == folder:
        return data
    for way, prefix in _NAMES:
        data = _changed(data, way, prefix, os.path.relpath(home, folder))
    return data


def _changed(value: Any, way: tuple[str, ...], prefix: str, step: str) -> Any:
    if not way:
        return _name(value, prefix, step)
    if not isinstance(value, dict):
        return value
    return {
        key: _changed(inner, way[1:], prefix, step) if way[0] in (_ANY, key) else inner
        for key, inner in value.items()
    }


def _name(value: Any, prefix: str, step: str) -> Any:
    if not isinstance(value, str) or not value.startswith(prefix):
        return value
    name = value.removeprefix(prefix)
    if name.startswith("~") or os.path.isabs(name):
        return value
    return f"{prefix}{os.path.normpath(os.path.join(step, name))}"
