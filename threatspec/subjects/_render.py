"""What a model sees of a conversation: through its chat template, or bare."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from threatspec.errors import ThreatspecError
from threatspec.schema import Serving

__all__ = ["ids_of", "text_of"]


def text_of(tokenizer: Any, ref: str, said: Sequence[str], serving: Serving) -> str:
    """A conversation as text, up to where the subject speaks.

    Without a template, the system prompt and all turns are joined by newlines.

    Args:
        ref: how messages call the subject.
        said: turns of the user and of the subject, in turn; the last is the user's.

    Raises ThreatspecError TS-TEMPLATE if there is no template or it refuses, and TS-SERVING for a
    first token that the tokenizer does not have.
    """
    if serving.template == "none":
        opening = [] if serving.system is None else [serving.system]
        return _begun("\n".join([*opening, *said]), tokenizer, ref, serving)
    if not tokenizer.chat_template:
        raise ThreatspecError(
            "TS-TEMPLATE",
            f"{ref} must have a chat template, but its tokenizer has none; "
            "ask with `template: none`, or use a tokenizer with a template",
        )
    turns = [
        {"role": ("user", "assistant")[place % 2], "content": text}
        for place, text in enumerate(said)
    ]
    if serving.system is not None:
        turns.insert(0, {"role": "system", "content": serving.system})
    return _begun(_templated(tokenizer, ref, turns), tokenizer, ref, serving)


def _templated(tokenizer: Any, ref: str, turns: Sequence[dict[str, str]]) -> str:
    try:
        return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
    except Exception as error:  # a template is a program of somebody else and may raise anything
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        roles = ", ".join(turn["role"] for turn in turns)
        raise ThreatspecError(
            "TS-TEMPLATE",
            f"the chat template of {ref} must take turns of {roles}, but it says: {reason}; "
            "ask in another way (`system`, `template: none`), or mend the template",
        ) from error


def _begun(text: str, tokenizer: Any, ref: str, serving: Serving) -> str:
    """Text with or without the token that begins a text, as the serving wants it."""
    if serving.bos is None:
        return text
    first = tokenizer.bos_token
    if not first:
        what = f"`bos` must be left out for {ref}, whose tokenizer has no token that begins a text"
        raise ThreatspecError("TS-SERVING", what)
    while text.startswith(first):
        text = text[len(first) :]
    return f"{first}{text}" if serving.bos else text


def ids_of(tokenizer: Any, texts: Sequence[str], serving: Serving) -> list[list[int]]:
    """Token ids of texts from :func:`text_of`; what they begin with is settled there if at all."""
    if not texts:
        return []
    adds = serving.template == "none" and serving.bos is None
    found: list[list[int]] = tokenizer(list(texts), add_special_tokens=adds)["input_ids"]
    return found
