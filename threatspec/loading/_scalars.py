"""What an unquoted scalar means: YAML 1.2, and an error where 1.1 and 1.2 would differ silently."""

from __future__ import annotations

import math
import re
from typing import Any

__all__ = ["ScalarError", "plain_scalar"]

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL = {
    spelling: value
    for word, value in (("true", True), ("false", False))
    for spelling in (word, word.title(), word.upper())
}
_OLD_BOOL = frozenset(
    spelling
    for word in ("yes", "no", "on", "off")
    for spelling in (word, word.title(), word.upper())
)
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_DECIMAL = re.compile(r"[-+]?0(?:[0-9]+|o[0-7]+|x[0-9a-fA-F]+|b[01]+)")
_NON_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_MAX_DIGITS = 300


class ScalarError(ValueError):
    """A scalar that must be written otherwise."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def plain_scalar(text: str) -> Any:
    """The value of an unquoted scalar: None, bool, int, float or text. Raises ScalarError."""
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if text in _OLD_BOOL:
        meant = "true" if text.lower() in {"yes", "on"} else "false"
        raise ScalarError(
            "TS-WRONG-TYPE",
            f"booleans must be written true or false, but got {text}; "
            f'write {meant}, or "{text}" if text is meant',
        )
    return _number(text)


def _number(text: str) -> Any:
    if _NOT_DECIMAL.fullmatch(text):
        raise ScalarError(
            "TS-WRONG-TYPE",
            f"numbers must be decimal without leading zeros, but got {text}; "
            f'write it in decimal, or "{text}" if text is meant',
        )
    if _INT.fullmatch(text) and len(text) <= _MAX_DIGITS:
        return int(text)
    if _NON_FINITE.fullmatch(text) or (_FLOAT.fullmatch(text) and not math.isfinite(float(text))):
        shown = text if len(text) < 40 else f"{text[:36]}..."
        raise ScalarError("TS-NON-FINITE", f"numbers must be finite, but got {shown}")
    return float(text) if _FLOAT.fullmatch(text) else text
