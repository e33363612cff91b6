"""What kind of machine and which libraries, without anything that says whose machine it is."""

from __future__ import annotations

import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from threatspec.schema import Model

__all__ = ["Environment", "environment"]

_LIBRARIES = (
    *("accelerate", "gguf", "numpy", "peft", "pydantic", "pyyaml", "ray", "safetensors"),
    *("threatspec-claims", "tokenizers", "torch", "transformers"),
)
"""Those on which rows or verdicts depend."""
_MODEL = re.compile(r"^model name\s*:\s*(.+)$", flags=re.MULTILINE)


class Environment(Model):
    """Libraries and kind of machine; no name of it or of its user."""

    python: str
    platform: str
    machine: str
    cpu: str
    libraries: dict[str, str]


def environment() -> Environment:
    """Of the machine that this runs on; no library is imported."""
    return Environment(
        python=f"{platform.python_implementation()} {platform.python_version()}",
        platform=platform.system(),
        machine=platform.machine(),
        cpu=_cpu(),
        libraries={name: found for name in _LIBRARIES if (found := _version(name))},
    )


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _cpu() -> str:
    try:
        found = _MODEL.search(Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace"))
    except OSError:
        found = None
    return " ".join(found[1].split()) if found else platform.processor()
