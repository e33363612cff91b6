"""Finding words in replies, the same way for every judge."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

__all__ = ["find_words", "has_words", "spaced_words", "words_of"]

_WORD = re.compile(r"[^\W_]+(?:'(?!s\b)[^\W_]+)*")
"""A possessive is the word and an `s`: "Rome's" holds "Rome", "can't" is one word."""


def spaced_words(text: str) -> str:
    """The words of `text` in folded case, a space before, between and after them.

    No word holds a space, before or after folding: words in a row are a piece of this text, which
    the interpreter searches faster than it compares words.
    """
    plain = unicodedata.normalize("NFC", text).replace("’", "'")
    return f" {' '.join(_WORD.findall(plain))} ".casefold()


def words_of(text: str) -> list[str]:
    """The words of `text` in folded case."""
    return spaced_words(text).split()


_needle = lru_cache(maxsize=4096)(spaced_words)
"""Phrases are the same for all replies."""


def has_words(phrase: str) -> bool:
    """Whether `phrase` holds a word at all; one that holds none is never found."""
    return bool(_needle(phrase).strip())


def find_words(text: str, phrases: Iterable[str]) -> str | None:
    """The first of `phrases` that stands in `text` as whole words in a row, in any letter case."""
    found = spaced_words(text)
    for phrase in phrases:
        wanted = _needle(phrase)
        if wanted in found and not wanted.isspace():
            return phrase
    return None
