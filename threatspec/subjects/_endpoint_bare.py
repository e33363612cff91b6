"""Bare text at an endpoint: how probable given words are after it, by `/completions` with `echo`.

The text and the words go there together, and the log-probabilities of what was sent come back with
the place of every token (`text_offset`), as `vllm serve` and the older of such interfaces do it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from threatspec.subjects._api import Api, EndpointError, field

__all__ = ["Unscored", "choice_score", "first_choice", "summed"]

_REMEDY = (
    "; log-probabilities of given choices need a server whose /completions takes `echo`, "
    "`logprobs` and `max_tokens: 0`, as vllm serve does: ask another one, or `query: generate`"
)
_KNOWN_CAUSE = frozenset({401, 403, 429})


class Unscored(Exception):
    """Words have no chance of their own: none of the tokens is theirs alone."""


def choice_score(api: Api, text: str, words: str) -> float:
    """Log-probability, in nats, of `words` after `text`; `words` begin with what parts them.

    Raises EndpointError, Unscored.
    """
    body = {
        "model": api.endpoint.model,
        "prompt": text + words,
        "max_tokens": 0,
        "echo": True,
        "logprobs": 1,
        "temperature": 0,
    }
    try:
        answer = api.post("/completions", body)
    except EndpointError as error:
        if error.status in _KNOWN_CAUSE or "context" in error.message:
            raise
        raise EndpointError(error.message + _REMEDY, error.status) from error
    return summed(answer, text, words)


def first_choice(answer: dict[str, Any], what: str = "a completion") -> dict[str, Any]:
    """The only choice of an answer. Raises EndpointError."""
    choices = field(answer, "choices", list, what)
    if not choices or not isinstance(choices[0], dict):
        raise EndpointError(f"{what} must have a choice, but has none")
    found: dict[str, Any] = choices[0]
    return found


def summed(answer: dict[str, Any], text: str, words: str) -> float:
    """Sum over the tokens of `words` in the echo of `text` and `words`.

    Offsets may be shifted by a first token that is not of the text, which begins it.

    Raises EndpointError for an answer that has not what was asked for, Unscored.
    """
    if not words.strip():
        raise Unscored("a choice has no tokens")
    chances, offsets = _echoed(answer, text + words)
    start = len(text)
    first = next((n for n, offset in enumerate(offsets) if offset >= start), len(offsets))
    blank = len(words) - len(words.lstrip())
    if first == len(offsets) or offsets[first] > start + blank:
        raise Unscored("a token spans the end of the prompt and the beginning of a choice")
    if not all(isinstance(one, (int, float)) and math.isfinite(one) for one in chances[first:]):
        raise EndpointError("the log-probabilities of a choice must be numbers" + _REMEDY)
    return math.fsum(chances[first:])


def _echoed(answer: dict[str, Any], sent: str) -> tuple[Sequence[Any], Sequence[int]]:
    """Log-probabilities and offsets in what was sent, of every token."""
    choice = first_choice(answer)
    told = choice.get("logprobs")
    known = told if isinstance(told, dict) else {}
    names = ("tokens", "token_logprobs", "text_offset")
    tokens, chances, offsets = (known.get(name) or [] for name in names)
    if not tokens or not len(tokens) == len(chances) == len(offsets):
        text = "an echo must have a log-probability and an offset for every token, but has not"
        raise EndpointError(text + _REMEDY)
    if choice.get("text") != sent:
        text = f"an echo must be what was sent and nothing more, but is {choice.get('text')!r}"
        raise EndpointError(text[:300] + _REMEDY)
    shift = offsets[-1] + len(tokens[-1]) - len(sent)
    if shift not in {0, len(tokens[0])}:
        raise EndpointError("the offsets of an echo must fit its text, but do not" + _REMEDY)
    skipped = 1 if shift else 0
    return chances[skipped:], [offset - shift for offset in offsets[skipped:]]
