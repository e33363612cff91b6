"""Which libraries a campaign was submitted with, and whether the cluster has the same."""

from __future__ import annotations

import json
import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

__all__ = ["differences", "libraries", "pins"]

_NAMES = ("accelerate", "gguf", "numpy", "peft", "safetensors", "torch", "transformers")
"""Those of the extra `run`: what trials compute with."""


def libraries() -> dict[str, str]:
    """Versions of what is installed here, however it was built; of Python too."""
    found = {"python": platform.python_version()}
    for name in _NAMES:
        with suppress(PackageNotFoundError):
            found[name] = version(name).partition("+")[0]
    return found


def pins() -> list[str]:
    """This machine's versions, as pip takes them."""
    return [f"{name}=={number}" for name, number in libraries().items() if name != "python"]


def differences(there: str) -> list[str]:
    """A line for each library that differs from `libraries()` of another machine, as JSON.

    A difference is no error: single replies may then differ from those of that machine.
    """
    here = libraries()
    return [
        f"threatspec: warning: {name} is {here.get(name, 'none')} here, but {number} where this "
        "was submitted; single replies may differ\n"
        for name, number in sorted(json.loads(there).items())
        if here.get(name) != number
    ]
