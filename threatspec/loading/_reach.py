"""Which files a claims file may name: local ones, inside its workspace."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from threatspec.errors import did_you_mean
from threatspec.loading._workspace import find_workspace

__all__ = ["Link", "LinkError", "Reach", "first_link"]


class LinkError(Exception):
    """A name that leads to no file that may be read."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Link:
    """A file: as it is shown to people, and the one that is really meant."""

    shown: Path
    real: Path


@dataclass(frozen=True, slots=True)
class Reach:
    """What the files of one spec may name."""

    folder: Path
    """Absolute folder of the first file: relative names in the merged spec start there."""
    workspace: Path

    @classmethod
    def of(cls, first: Path) -> Reach:
        """The reach of a claims file and of everything it leads to."""
        workspace = find_workspace(first)
        return cls(Path(os.path.abspath(first)).parent, _real(workspace) or workspace)

    def find(self, name: str, by: Link) -> Link:
        """The file that `by` calls `name`. Raises LinkError.

        Confinement is asked of the real path, with symbolic links followed, and that path is read.
        """
        named = by.shown.parent / name
        real = _real(named)
        if real is None:
            raise LinkError("TS-FILE-MISSING", f"{name!r} is no path that leads to a file")
        link = Link(Path(os.path.normpath(named)), real)
        if not link.real.is_relative_to(self.workspace):
            text = f"files must lie in the workspace {self.workspace}, but {name} does not; "
            raise LinkError("TS-INCLUDE-OUTSIDE", f"{text}copy what is needed into it")
        if not _exists(link.real):
            beside = [other.name for other in link.real.parent.glob("*.y*ml")]
            hint = did_you_mean(link.real.name, beside).partition(";")[0]
            raise LinkError("TS-FILE-MISSING", f"the file {name} is not there{hint}")
        return link


def first_link(path: Path) -> Link:
    """The file that a user named."""
    return Link(path, _real(path) or Path(os.path.abspath(path)))


def _real(path: Path) -> Path | None:
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):  # a circle of links, or no path at all
        return None


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False
