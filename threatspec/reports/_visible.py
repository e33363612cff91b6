"""Hostile text made visible: model output may hold anything, and a report shows it as characters.

Control characters drive terminals; bidirectional and zero-width ones make a reader see another
text than the one that was judged. Both are written as escapes.
"""

from __future__ import annotations

__all__ = ["escape", "one_line", "shortened", "visible"]

_LAYOUT = frozenset("\n\t")


def visible(text: str) -> str:
    """`text` with every unprintable character as an escape; line breaks and tabs stay."""
    if text.isprintable():
        return text  # nearly always, and reports ask tens of thousands of times
    return "".join(c if c.isprintable() or c in _LAYOUT else escape(c) for c in text)


def one_line(text: str) -> str:
    """Visible text on one line: runs of white space become one space."""
    return visible(" ".join(text.split()))


def shortened(text: str, most: int) -> str:
    """At most `most` characters, and how many were left out."""
    left = len(text) - most
    return text if left <= 0 else f"{text[:most]} … ({left} more characters)"


def escape(character: str) -> str:
    """A character by its code point."""
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
