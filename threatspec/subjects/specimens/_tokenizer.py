"""The tokenizer of the specimens: one word, one token. Imports transformers only when called."""

from __future__ import annotations

from typing import TYPE_CHECKING

from threatspec.subjects.specimens._language import CHAT_TEMPLATE, SPECIAL_TOKENS
from threatspec.subjects.specimens._world import vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

__all__ = ["build_tokenizer"]

CONTEXT = 128
"""Longest sequence of a specimen, in tokens."""


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Word-level tokenizer of the specimens; adds no special tokens except by its chat template.

    Pads on the left, so that a batch of prompts can be generated from as it is.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {word: index for index, word in enumerate(vocabulary())}
    backend = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<bos>",
        eos_token="<end>",
        additional_special_tokens=list(SPECIAL_TOKENS[4:]),
        chat_template=CHAT_TEMPLATE,
        padding_side="left",
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )
