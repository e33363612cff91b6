"""Reports are written under a temporary name and renamed: a reader never sees half of one."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from threatspec.errors import ExitCode, ThreatspecError

__all__ = ["write_atomic"]


def write_atomic(path: Path, text: str) -> None:
    """Write `text` to `path`, with its folders. Raises ThreatspecError if that cannot be done."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise _cannot(path, error) from error


def _cannot(path: Path, error: OSError) -> ThreatspecError:
    if error.errno == errno.ENOSPC:
        return ThreatspecError("TS-DISK-FULL", f"there is no room on the disk for {path}")
    return ThreatspecError(
        "TS-USAGE",
        f"{path} must be a file that can be written, but: {error.strerror or error}; "
        "the results are kept, `threatspec report FOLDER --html PATH` writes the report again",
        exit_code=ExitCode.USAGE,
    )
