"""Which tokens a suffix may have, what it starts from, and which swaps are tried."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from threatspec.errors import ThreatspecError
from threatspec.subjects._resident import ResidentSubject
from threatspec.training.suffixes._frames import Frames

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Ids", "allowed_tokens", "opening_tokens", "started", "swaps"]

Ids = tuple[int, ...]
_ROUNDS = 8
"""How often a step draws again for candidates that do not come back from text."""
_TRIES = 512
_SPACES = ("\u0120", "\u2581")
"""How byte-level and SentencePiece vocabularies write the space before a word."""


def allowed_tokens(subject: ResidentSubject, *, ascii_only: bool) -> list[int]:
    """Tokens that a suffix may have: no special or added ones, and only such with words."""
    tokenizer: Any = subject.tokenizer
    banned = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    count = min(len(tokenizer), subject.model.get_input_embeddings().num_embeddings)
    ids = [number for number in range(count) if number not in banned]
    texts = tokenizer.batch_decode([[number] for number in ids])
    pairs = zip(ids, texts, strict=True)
    return [number for number, text in pairs if _is_fine(text, ascii_only=ascii_only)]


def _is_fine(text: str, *, ascii_only: bool) -> bool:
    whole = text.strip() != "" and "\ufffd" not in text and text.isprintable()
    return whole and (text.isascii() or not ascii_only)


def opening_tokens(subject: ResidentSubject, allowed: Sequence[int]) -> list[int]:
    """Those that begin a word, where a vocabulary tells; any other breaks up the word before."""
    names = subject.tokenizer.convert_ids_to_tokens(list(allowed))
    pairs = zip(allowed, names, strict=True)
    return [number for number, name in pairs if name.startswith(_SPACES)] or list(allowed)


def started(frames: Frames, opening: Sequence[int], length: int, draw: random.Random) -> Ids:
    """Random words, one token each, that come back from text.

    Raises ThreatspecError TS-TRIAL-ERROR if there are none.
    """
    found: Ids = ()
    for _ in range(_TRIES):
        if len(found) == length:
            return found
        longer = (*found, draw.choice(opening))
        if all(frames.kept([longer])):
            found = longer
    raise ThreatspecError(
        "TS-TRIAL-ERROR",
        f"a suffix must come back from text as the tokens that it was made of, but of {_TRIES} "
        f"random ones none of {length} tokens does; use a shorter one, or another subject",
    )


def swaps(
    frames: Frames,
    current: Ids,
    choices: Callable[[int], Sequence[int]],
    count: int,
    draw: random.Random,
) -> list[Ids]:
    """Up to `count` different suffixes, each with one token of `current` swapped.

    Args:
        frames: rows in which a suffix must come back from text.
        choices: what a position may be swapped for.
    """
    found: dict[Ids, None] = {}
    seen = {current}
    for _ in range(_ROUNDS):
        fresh = list(_fresh(current, choices, count - len(found), draw, seen))
        kept = frames.kept(fresh) if fresh else []
        found.update((one, None) for one, fine in zip(fresh, kept, strict=True) if fine)
        if len(found) == count:
            break
    return list(found)


def _fresh(
    current: Ids,
    choices: Callable[[int], Sequence[int]],
    count: int,
    draw: random.Random,
    seen: set[Ids],
) -> Iterator[Ids]:
    """Swaps that were not drawn before; `seen` grows."""
    for _ in range(count):
        place = draw.randrange(len(current))
        one = (*current[:place], draw.choice(choices(place)), *current[place + 1 :])
        if one not in seen:
            seen.add(one)
            yield one
