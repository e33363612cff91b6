"""Secrets that a subject reads: drawn from its own vocabulary, whole after its tokenizer.

A secret that was made of random token ids and kept as text need not be those ids again: neighbours
merge, and bytes that are no text are lost. What is drawn here is text whose ids are known.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Literal

from threatspec.errors import ThreatspecError
from threatspec.safeguards.base import SafeguardContext

__all__ = ["Order", "broken", "draw_secret", "joined", "plain_ids"]

Order = Literal["secret-first", "secret-last"]
"""Where the secret stands in a system prompt."""

_TRIES = 200
_LOST = "\ufffd"
"""What decoders write for bytes that are no text."""
_PROBE = ("help me", "what is this ?")
"""A system prompt and a turn of a user, beside which a secret must stay whole."""


def joined(secret: str, system: str | None, order: Order) -> str:
    """A system prompt with the secret, which has lines of its own."""
    if not system:
        return secret
    return f"{secret}\n{system}" if order == "secret-first" else f"{system}\n{secret}"


def draw_secret(
    context: SafeguardContext, length: int, order: Order, chooser: random.Random
) -> str:
    """A secret of exactly `length` tokens.

    Raises ThreatspecError TS-SAFEGUARD if none that was drawn is whole after the tokenizer.
    """
    reason = "no token of its vocabulary is text"
    for _ in range(_TRIES):
        drawn = _candidate(context, length, chooser)
        if drawn is not None:
            found = broken(context, drawn, order)
            if found is None:
                return drawn
            reason = found
    text = f"a secret of {length} tokens must survive the tokenizer of {context.subject.ref}, but "
    raise ThreatspecError("TS-SAFEGUARD", f"{text}{_TRIES} draws do not: {reason}")


def broken(context: SafeguardContext, secret: str, order: Order) -> str | None:
    """Why a secret is not what the subject reads; None: it is.

    Its ids must be those of their own text, and must stand in every rendered system prompt. Of
    these the first may differ, where a tokenizer marks the start of a text.
    """
    if _LOST in secret:
        return "it has a replacement character, where a decoder has lost something"
    ids = context.tokens(secret)
    if not ids or context.text(ids) != secret or context.tokens(context.text(ids)) != ids:
        return "its token ids are not those of their own text"
    for system in (None, _PROBE[0]):
        seen = context.rendered(joined(secret, system, order), _PROBE[1])
        marked = len(ids) > 1 and secret in context.text(seen)
        if not _within(seen, ids) and not (marked and _within(seen, ids[1:])):
            return "its token ids are others inside a system prompt"
    return None


def _within(ids: Sequence[int], part: Sequence[int]) -> bool:
    size = len(part)
    return any(list(ids[at : at + size]) == list(part) for at in range(len(ids) - size + 1))


def _candidate(context: SafeguardContext, length: int, chooser: random.Random) -> str | None:
    """Text that is `length` tokens where it stands alone; None if this draw has none."""
    ids = list(plain_ids(context, 2 * length, chooser))
    text = context.text(ids)
    for _ in range(4):  # neighbours merge, so that what is cut is read again
        text = context.text(context.tokens(text)[:length])
        if len(context.tokens(text)) == length:
            return text
    return None


def plain_ids(context: SafeguardContext, count: int, chooser: random.Random) -> Iterator[int]:
    """Random ids of tokens that are printable text by themselves; special tokens are none."""
    made = 0
    for _ in range(100 * count):
        one = chooser.randrange(context.subject.vocabulary)
        if _is_plain(context.text([one])):
            yield one
            made += 1
        if made == count:
            return


def _is_plain(text: str) -> bool:
    return bool(text.strip()) and text.isprintable() and _LOST not in text
