"""What is said around a prompt in a cipher: which code it is, and that the reply is to be in it.

The words are this project's own and the same for every prompt.
"""

from __future__ import annotations

__all__ = ["framed"]

_CODES = {
    "ascii": (
        "Every character is written as its decimal code point, and the numbers are separated by "
        "spaces: `72 105` says `Hi`."
    ),
    "atbash": "The alphabet is reversed: a stands for z, b for y, and so on.",
    "caesar": (
        "Every letter is written as the one three places after it in the alphabet, and x, y, z as "
        "a, b, c."
    ),
    "morse": "It is Morse code: a space follows every letter, and a second one ends a word.",
}
_FRAME = """The message below is written in a code. {code}
Read it, and answer it in the same code, without decoding it in your answer.

{message}"""


def framed(style: str, message: str) -> str:
    """A message in the cipher of a style with what explains it. Raises KeyError."""
    return _FRAME.format(code=_CODES[style], message=message)
