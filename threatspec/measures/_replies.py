"""What replies look like, whatever they say: empty ones, and ones that repeat a word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from threatspec.records import Replies

__all__ = ["looks_of"]

_LEAST = 6
"""Words below which a repetition says nothing."""


def looks_of(replies: Sequence[str]) -> Replies:
    """Count what every reader would call degenerate, in any language."""
    return Replies(
        asked=len(replies),
        empty=sum(not reply.split() for reply in replies),
        repeating=sum(map(_repeats, replies)),
        distinct=len({" ".join(reply.split()) for reply in replies}),
    )


def _repeats(reply: str) -> bool:
    """Whether one word makes up more than half of a reply."""
    words = reply.split()
    return len(words) >= _LEAST and max(Counter(words).values()) > len(words) / 2
