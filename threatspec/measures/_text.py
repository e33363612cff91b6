"""Finding words in replies, the same way for every judge."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

__all__ = ["find_words", "has_words", "spaced_words", "words_of"]

_WORD = re.compile(r"[^\W_]+(?:'(?!s\b)[^\W_]+)*")
"""A possessive is the word and an `s`: "Rome's" holds "Rome", "can't" is one word."""


def _plain(text: str) -> str:
    return (text if text.isascii() else unicodedata.normalize("NFC", text)).replace("’", "'")


def spaced_words(text: str) -> str:
    """The words of `text` in folded case, a space before, between and after them.

    No word holds a space, before or after folding: words in a row are a piece of this text, which
    the interpreter searches faster than it compares words.
    """
    return f" {' '.join(_WORD.findall(_plain(text)))} ".casefold()


def words_of(text: str) -> list[str]:
    """The words of `text` in folded case."""
    return spaced_words(text).split()


_needle = lru_cache(maxsize=4096)(spaced_words)
"""Phrases are the same for all replies."""


@lru_cache(maxsize=256)
def _needles(phrases: tuple[str, ...]) -> tuple[tuple[str, str, str], ...]:
    """Phrases that can be found, their longest word, and what is searched for."""
    wanted = [(phrase, _needle(phrase)) for phrase in phrases]
    return tuple((p, max(n.split(), key=len), n) for p, n in wanted if not n.isspace())


def has_words(phrase: str) -> bool:
    """Whether `phrase` holds a word at all; one that holds none is never found."""
    return bool(_needle(phrase).strip())


def find_words(text: str, phrases: Iterable[str]) -> str | None:
    """The first of `phrases` that stands in `text` as whole words in a row, in any letter case."""
    folded = _plain(text).casefold()
    # A phrase whose longest word is nowhere in the text needs no words to be told apart.
    perhaps = [(p, needle) for p, word, needle in _needles(tuple(phrases)) if word in folded]
    if not perhaps:
        return None
    found = spaced_words(text)
    return next((phrase for phrase, needle in perhaps if needle in found), None)
