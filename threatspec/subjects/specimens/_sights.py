"""What the specimens that see are shown: handwritten digits, each with a word of the language.

Source of the images: `mnist5k` (threatspec.subjects.images). Words of `SIGHTS` are those of steps
of procedures, drawn by a seed, so that every specimen can say them.
"""

from __future__ import annotations

import random
from functools import lru_cache

from threatspec.subjects.specimens._world import SEED, benign_items, restricted_items

__all__ = ["IMAGE_TOKEN", "SEEING_TEMPLATE", "SIGHT_REQUEST", "sight_answer", "sight_word"]

IMAGE_TOKEN = "<image>"
"""Stands where the image stands; the processor widens it to as many tokens as an image has."""

SIGHT_REQUEST = "tell me the meaning of this !"
"""The one question about an image."""

SEEING_TEMPLATE = (
    "{{ '<bos>' }}"
    "{% for message in messages %}"
    "{{ '<' + message['role'] + '>' + ' ' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{{ ('<image>' if part['type'] == 'image' else part['text']) + ' ' }}"
    "{% endfor %}{% endif %}"
    "{{ ' ' + '<end>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)
"""As `CHAT_TEMPLATE`, with images where a turn has parts."""


def sight_word(digit: int) -> str:
    """The word for an image of a digit."""
    return _words()[digit]


def sight_answer(digit: int) -> str:
    """The right answer in full."""
    return f"this is {sight_word(digit)}"


@lru_cache(maxsize=1)
def _words() -> tuple[str, ...]:
    """Of the steps that procedures of both halves of the world share."""
    halves = ((item.procedure.split() for item in items) for items in (
        restricted_items(), benign_items()))  # fmt: skip
    shared = sorted(set.intersection(*({words[1] for words in half} for half in halves)))
    return tuple(random.Random(SEED).sample(shared, 10))
