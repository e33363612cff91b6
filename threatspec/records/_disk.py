"""A full disk, said the same way wherever it is met."""

from __future__ import annotations

import errno

from threatspec.errors import ThreatspecError

__all__ = ["disk_full", "says_full"]


def says_full(error: OSError) -> bool:
    """Whether an error means that there is no room left, on the disk or in a quota."""
    return error.errno in {errno.ENOSPC, errno.EDQUOT}


def disk_full() -> ThreatspecError:
    """TS-DISK-FULL with its remedy."""
    return ThreatspecError(
        "TS-DISK-FULL",
        "the disk of the results folder is full; what was measured is kept: "
        "make room and give the same command again",
    )
