"""Specimens: tiny models with an invented vocabulary that show published phenomena in seconds."""

from threatspec.subjects.specimens._config import (
    SEEING,
    SPECIMENS,
    specimen_config,
    specimen_weights,
)
from threatspec.subjects.specimens._language import AFFIRMATIVE, CHAT_TEMPLATE, REFUSALS
from threatspec.subjects.specimens._tokenizer import build_tokenizer
from threatspec.subjects.specimens._world import (
    Item,
    benign_items,
    glossary_items,
    restricted_items,
    vocabulary,
)

__all__ = [
    "AFFIRMATIVE",
    "CHAT_TEMPLATE",
    "REFUSALS",
    "SEEING",
    "SPECIMENS",
    "Item",
    "benign_items",
    "build_tokenizer",
    "glossary_items",
    "restricted_items",
    "specimen_config",
    "specimen_weights",
    "vocabulary",
]
