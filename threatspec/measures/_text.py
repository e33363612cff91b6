"""Finding words in replies, the same way for every judge."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

__all__ = ["find_words", "has_words"]

_WORD = re.compile(r"[^\W_]+(?:'(?!s\b)[^\W_]+)*")
"""A possessive is the word and an `s`: "Rome's" holds "Rome", "can't" is one word."""


def _words(text: str) -> tuple[str, ...]:
    plain = unicodedata.normalize("NFC", text).replace("’", "'")
    return tuple(word.casefold() for word in _WORD.findall(plain))


def has_words(phrase: str) -> bool:
    """Whether `phrase` holds a word at all; one that holds none is never found."""
    return bool(_words(phrase))


def find_words(text: str, phrases: Iterable[str]) -> str | None:
    """The first of `phrases` that stands in `text` as whole words in a row, in any letter case."""
    found = _words(text)
    for phrase in phrases:
        wanted = _words(phrase)
        size = len(wanted)
        if size and any(found[i : i + size] == wanted for i in range(len(found) - size + 1)):
            return phrase
    return None
