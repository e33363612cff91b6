"""What a subject is asked, before and after attacks on requests."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Request"]


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt on its way to a subject."""

    item: str
    """Id of the benchmark item."""
    prompt: str
    answer: str = ""
    """A complying answer that the attacker knows; the subject sees no more of it than `prefix`."""
    prefix: str = ""
    """Words the attacker writes at the start of the reply."""
    prefix_tokens: int | None = None
    """If given, only the first so many token ids of `prefix` are written."""
