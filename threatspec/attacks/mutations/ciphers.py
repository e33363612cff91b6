"""Four ciphers, exact both ways over Unicode: Caesar, ASCII, Morse, Atbash.

Source of what they are: CipherChat, whose encoders SORRY-Bench uses (arXiv 2406.14598).
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["CIPHERS", "Cipher", "cipher", "in_capitals"]

_LOWER, _UPPER = string.ascii_lowercase, string.ascii_uppercase
_CAPITALS = str.maketrans(_LOWER, _UPPER)


@dataclass(frozen=True, slots=True)
class Cipher:
    """A code for text. `decode(encode(text))` is the text; of Morse it is `in_capitals(text)`."""

    encode: Callable[[str], str]
    decode: Callable[[str], str]
    """What is not in the code is left as it is."""
    tells: bool
    """Whether one sees of a line if it is in the code. Shifted letters are letters too: of Caesar
    and Atbash nobody does."""


def cipher(name: str, *, compat: bool = False) -> Cipher:
    """The cipher of a name; `compat` is Atbash with CipherChat's defect. Raises KeyError."""
    return _ATBASH_COMPAT if compat and name == "atbash" else CIPHERS[name]


def in_capitals(text: str) -> str:
    """What Morse keeps of a text: everything but the case of a to z."""
    return text.translate(_CAPITALS)


def _by_letters(to: dict[int, int]) -> Cipher:
    """Letter for letter. Raises ValueError if two letters become one."""
    back = {new: old for old, new in to.items()}
    if len(back) != len(to) or set(to) != set(back):
        raise ValueError("a cipher by letters must be a permutation")
    return Cipher(lambda text: text.translate(to), lambda text: text.translate(back), False)


def _shifted(letters: str, by: int) -> dict[int, int]:
    return str.maketrans(letters, letters[by:] + letters[:by])


def _atbash_compat() -> dict[int, int]:
    """`219 - code` for both cases: right for small letters; capitals become control characters
    U+0081 to U+009A. Those become capitals here, so that it is exact both ways."""
    small = {ord(c): 219 - ord(c) for c in _LOWER}
    capital = {ord(c): 219 - ord(c) for c in _UPPER}
    return {**small, **capital, **{new: old for old, new in capital.items()}}


# ASCII: decimal code points, separated by spaces, line by line


def _points(text: str) -> str:
    return "\n".join(" ".join(str(ord(c)) for c in line) for line in text.split("\n"))


def _from_points(text: str) -> str:
    return "\n".join(map(_line_from_points, text.split("\n")))


def _line_from_points(line: str) -> str:
    if not re.fullmatch(r" *[0-9]{1,7}( +[0-9]{1,7})* *", line):
        return line
    points = list(map(int, line.split()))
    return "".join(map(chr, points)) if max(points) < 0x110000 else line


# Morse: every symbol is followed by a space, and a space is a space, so that words are two apart

_MORSE = {
    "A": ".-", "B": "-...", "C": "-.-.", "D": "-..", "E": ".", "F": "..-.", "G": "--.",
    "H": "....", "I": "..", "J": ".---", "K": "-.-", "L": ".-..", "M": "--", "N": "-.",
    "O": "---", "P": ".--.", "Q": "--.-", "R": ".-.", "S": "...", "T": "-", "U": "..-",
    "V": "...-", "W": ".--", "X": "-..-", "Y": "-.--", "Z": "--..",
    "0": "-----", "1": ".----", "2": "..---", "3": "...--", "4": "....-", "5": ".....",
    "6": "-....", "7": "--...", "8": "---..", "9": "----.",
    ".": ".-.-.-", ",": "--..--", "?": "..--..", "'": ".----.", "!": "-.-.--", "/": "-..-.",
    "(": "-.--.", ")": "-.--.-", "&": ".-...", ":": "---...", ";": "-.-.-.", "=": "-...-",
    "+": ".-.-.", "-": "-....-", "_": "..--.-", '"': ".-..-.", "$": "...-..-", "@": ".--.-.",
}  # fmt: skip
"""International Morse code, ITU-R M.1677-1, and the usual `!`, `&`, `;`, `_`, `$`. A character
without a code stands for itself, which is exact since `.` and `-` have codes."""
_SYMBOLS = {code: character for character, code in _MORSE.items()}


def _morse(text: str) -> str:
    return "\n".join(map(_morse_line, in_capitals(text).split("\n")))


def _morse_line(line: str) -> str:
    return "".join(" " if c == " " else f"{_MORSE.get(c, c)} " for c in line)


def _from_morse(text: str) -> str:
    return "\n".join(map(_line_from_morse, text.split("\n")))


def _line_from_morse(line: str) -> str:
    """A line of symbols; the last may lack its space, which replies do."""
    symbols = (line if line.endswith(" ") or not line else f"{line} ").split(" ")[:-1]
    if not all(map(_is_symbol, symbols)):
        return line
    return "".join(_SYMBOLS.get(s, s) or " " for s in symbols)


def _is_symbol(symbol: str) -> bool:
    alone = len(symbol) == 1 and in_capitals(symbol) not in _MORSE
    return not symbol or alone or symbol in _SYMBOLS


CIPHERS = {
    "ascii": Cipher(_points, _from_points, True),
    "atbash": _by_letters(
        str.maketrans(_LOWER + _UPPER, _LOWER[::-1] + _UPPER[::-1]),
    ),
    "caesar": _by_letters({**_shifted(_LOWER, 3), **_shifted(_UPPER, 3)}),
    "morse": Cipher(_morse, _from_morse, True),
}
"""Ciphers by the name of their style."""
_ATBASH_COMPAT = _by_letters(_atbash_compat())
