"""Tiny models with random weights, one of each architecture that subjects may have.

All speak the words of the specimens: one word, one token, the same chat template.
"""

from __future__ import annotations

from typing import Any

from threatspec.subjects import Offer, SubjectCard
from threatspec.subjects._resident import ResidentSubject

__all__ = ["TINY", "tiny"]

_LAYERS, _HIDDEN, _INNER, _HEADS, _CONTEXT = 2, 16, 24, 2, 128
_COMMON: dict[str, Any] = {
    "hidden_size": _HIDDEN,
    "intermediate_size": _INNER,
    "num_hidden_layers": _LAYERS,
    "num_attention_heads": _HEADS,
    "num_key_value_heads": _HEADS,
    "max_position_embeddings": _CONTEXT,
    "initializer_range": 0.3,  # so that replies differ from one another
}
TINY: dict[str, dict[str, Any]] = {
    "llama": {**_COMMON, "tie_word_embeddings": False},
    "qwen2": {**_COMMON, "num_key_value_heads": 1, "tie_word_embeddings": True},
    "qwen3": {**_COMMON, "head_dim": 8, "tie_word_embeddings": True},
    "gemma": {**_COMMON, "head_dim": 8, "tie_word_embeddings": True},
    "gpt2": {
        "n_embd": _HIDDEN, "n_layer": _LAYERS, "n_head": _HEADS, "n_inner": _INNER,
        "n_positions": _CONTEXT, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0,
        "initializer_range": 0.3,
    },
    "phi": {**_COMMON, "resid_pdrop": 0.0, "tie_word_embeddings": False},
    "mixtral": {
        **_COMMON, "num_local_experts": 3, "num_experts_per_tok": 2, "tie_word_embeddings": False,
    },
}  # fmt: skip
"""Kind (`model_type` of transformers) -> settings of its configuration."""


def tiny(kind: str, *, seed: int = 0, **settings: Any) -> ResidentSubject:
    """A random model of `kind` (a key of `TINY`), two blocks of width 16, in evaluation mode.

    `settings` override the configuration's; equal seeds give equal weights.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

    from threatspec.subjects.specimens import build_tokenizer

    torch.set_num_threads(1)  # as subjects are loaded; more are slower on such small matrices
    tokenizer = build_tokenizer()
    ids = {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = AutoConfig.for_model(kind, **{**TINY[kind], **ids, **settings})
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.generation_config = GenerationConfig()
    card = SubjectCard(
        ref=f"path:tiny-{kind}", digest="0" * 64, layers=_LAYERS, hidden=_HIDDEN,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        vocabulary=len(tokenizer), context=_CONTEXT, tokens_per_word=1.0,
        offers=frozenset(Offer) - {Offer.IMAGE, Offer.CLASSES},
    )  # fmt: skip
    return ResidentSubject(card, model.eval(), tokenizer)
