"""Who ran a campaign, and where on the disk, is nobody's business: taken out of what is handed on.

Only free text is changed (messages of errors, names of labellers and workers). What ids are derived
from, the plan above all, must stay as it is.
"""

from __future__ import annotations

import contextlib
import getpass
import re
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path

from threatspec.records import Label

__all__ = ["Scrubber", "nameless"]

_PATH = re.compile(r"(?<![\w<./~-])(?:~?/|[A-Za-z]:[\\/]|\\\\)[^\s'\"<>:;,()\[\]{}|]+")
"""An absolute path as it stands in a sentence; a lone slash between words is none."""
_LEAST = 2
"""Letters of a name below which it would be found in other words."""


class Scrubber:
    """Replaces absolute paths, and the names of the user and of the machine.

    Args:
        folders: folders that are known to occur; they may hold blanks.
    """

    def __init__(self, folders: Iterable[Path | str] = ()) -> None:
        known = {str(folder) for folder in (*folders, Path.home(), Path.cwd())}
        self._folders = sorted((f for f in known if len(f) > 1), key=len, reverse=True)
        names = sorted(_names(), key=len, reverse=True)
        self._names = re.compile("|".join(rf"\b{re.escape(name)}\b" for name in names) or "$^")

    def text(self, text: str) -> str:
        """A sentence without them."""
        for folder in self._folders:
            text = text.replace(folder, "<path>")
        text = re.sub(r"<path>[^\s'\":;,()]*", "<path>", text)
        return self._names.sub("<name>", _PATH.sub("<path>", text))


def nameless(labels: Iterable[Label]) -> Iterator[Label]:
    """Labels by `labeller-1`, `labeller-2`, ...: who agrees with whom stays visible."""
    known: dict[str, str] = {}
    for label in labels:
        name = known.setdefault(label.labeller, f"labeller-{len(known) + 1}")
        yield label.model_copy(update={"labeller": name})


def _names() -> set[str]:
    found = {socket.gethostname(), socket.gethostname().partition(".")[0]}
    with contextlib.suppress(OSError, KeyError):  # a user without a name
        found.add(getpass.getuser())
    return {name for name in found if len(name) >= _LEAST}
