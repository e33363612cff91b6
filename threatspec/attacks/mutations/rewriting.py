"""What tampers share that have requests rewritten, and attacks that need what the adversary owns.

Not among what the package shows: rewriters read its table of styles.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import PrivateAttr

from threatspec.attacks._rewriter import Rewriter, Rewritten, Task, rewriter_of
from threatspec.errors import ThreatspecError
from threatspec.subjects import Request, RequestTamper

__all__ = ["Rewriting", "owned"]


def owned(rewriter: str | None, what: str) -> str:
    """The adversary's rewriter, which `what` needs. Raises ThreatspecError TS-REWRITER if none."""
    if rewriter is None:
        text = f"{what} needs a rewriter, but the adversary owns none; "
        raise ThreatspecError("TS-REWRITER", f"{text}declare `owns: {{rewriter: ...}}`")
    return rewriter


class Rewriting(RequestTamper):
    """Has requests rewritten, all of them together."""

    rewriter: str
    sha256: str = ""
    """Of the rewriter's rows, or of what is known of a model."""
    _rewriter: Rewriter | None = PrivateAttr(default=None)

    def opened(self, load: Callable[[str], dict[str, Any]], folder: Path) -> Self:
        """The same with its rewriter. Raises ThreatspecError as `rewriter_of`."""
        found = self.model_copy()
        found._rewriter = rewriter_of(self.rewriter, folder, self.sha256)
        return found

    def encode(self, request: Request) -> Request:
        """The request, rewritten, or with a `lacking`."""
        return self.encode_all([request])[0]

    @abstractmethod
    def encode_all(self, requests: Sequence[Request]) -> list[Request]:
        """All requests. Raises ValueError before it is opened, and what a rewriter raises."""

    def _rewritten(self, task: Task, texts: Iterable[tuple[str, str]]) -> Iterator[Rewritten]:
        """New texts, in order, of pairs of an item's id and its text. Raises as `encode_all`."""
        if self._rewriter is None:
            raise ValueError("a rewriter must be opened before it is used")
        return iter(self._rewriter.rewrite(task, list(texts)))
