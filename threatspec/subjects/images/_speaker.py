"""Chat templates of vision-language models, asked for a turn that begins with an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["Speaker"]


class Speaker:
    """Stands where a tokenizer is asked for its chat template.

    Templates of vision-language models want turns in parts, templates of language models want them
    as one text; parts are tried first, and count if the words and the image come out as they are.

    Args:
        processor: whose template is used, or else its tokenizer's.
        image: the words that stand for an image; a turn that begins with them has one.
    """

    def __init__(self, processor: Any, image: str) -> None:
        self._tokenizer, self._image = processor.tokenizer, image
        self.chat_template = getattr(processor, "chat_template", None) or getattr(
            processor.tokenizer, "chat_template", None
        )
        self.bos_token = processor.tokenizer.bos_token

    def apply_chat_template(self, turns: Sequence[Mapping[str, str]], **how: Any) -> str:
        """The text of turns. Raises whatever the template raises, ValueError for a template that
        shows no image."""
        error: Exception | None = None
        for said in ([self._in_parts(turn) for turn in turns], list(turns)):
            try:
                text = self._tokenizer.apply_chat_template(
                    said, chat_template=self.chat_template, **how
                )
            except Exception as raised:  # a template is a program of somebody else
                error = raised
                continue
            if self._is_whole(text, turns):
                return str(text)
        raise error or ValueError("it shows neither an image nor the words as they are")

    def _in_parts(self, turn: Mapping[str, str]) -> dict[str, Any]:
        words = turn["content"].removeprefix(self._image).removeprefix("\n")
        parts: list[dict[str, str]] = []
        if turn["content"].startswith(self._image):
            parts.append({"type": "image"})
        return {**turn, "content": [*parts, {"type": "text", "text": words}]}

    def _is_whole(self, text: str, turns: Sequence[Mapping[str, str]]) -> bool:
        """Whether every turn's words are there, and as many images as in the turns; a list of
        parts may have been written out as Python does."""
        wanted = sum(turn["content"].startswith(self._image) for turn in turns)
        words = [t["content"].removeprefix(self._image).strip() for t in turns]
        there = all(one in text for one in words) and "{'type'" not in text
        return there and text.count(self._image) == wanted
