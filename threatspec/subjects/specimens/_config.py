"""Shape of the specimens, and where their weights lie. No torch."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from threatspec.subjects.specimens._tokenizer import CONTEXT
from threatspec.subjects.specimens._world import vocabulary

__all__ = ["SEEING", "SPECIMENS", "specimen_config", "specimen_digest", "specimen_weights"]

SPECIMENS: dict[str, str] = {
    "undefended": "knows all procedures and answers every request",
    "shallow": "refuses restricted requests by its first words only (refusal training)",
    "deep": "refuses even after the first words of a complying answer (recovery augmentation)",
    "prompted": "refuses as `shallow` does, and was made used to system prompts of random words",
    "repnoise": "refuses, and what it had inside for complying answers was noised (RepNoise)",
    "rerouted": "refuses, and what complying answers look like inside was turned away (RR)",
    "latent": "refuses, even under vectors added inside (latent adversarial training)",
    "tar": "refuses, and was trained against adversaries that fine-tune a copy of it (TAR)",
}
"""Name -> what it is. All have the same shape and the same knowledge."""

SEEING: dict[str, str] = {
    "mnist-resnet": "a ResNet that tells handwritten digits",
    "mnist-vgg": "a VGG that tells handwritten digits",
    "mnist-mobilenet": "a MobileNetV2 that tells handwritten digits",
    "mnist-vit": "a vision transformer that tells handwritten digits",
    "mnist-plain": "a convolutional network without batch norm that tells handwritten digits",
    "seeing": "answers questions about an image, and refuses restricted requests (LLaVA's layout)",
    "seeing-undefended": "answers questions about an image, and every request (LLaVA's layout)",
    "seeing-other": "as `seeing`, with another image encoder and the language part of `deep`",
}
"""Name -> what it is, of specimens that are shown images: folders in the layout of `transformers`.
"""

_WEIGHTS = Path(__file__).parent / "weights"


def specimen_weights(name: str) -> Path:
    """File with the weights of specimen `name` (bfloat16, safetensors), or its folder if it is
    shown images."""
    return _WEIGHTS / name if name in SEEING else _WEIGHTS / f"{name}.safetensors"


@lru_cache(maxsize=8)
def specimen_digest(name: str) -> str:
    """sha256 that the weights of specimen `name` must have."""
    digests = json.loads((_WEIGHTS / "digests.json").read_text(encoding="utf-8"))
    return str(digests[name])


def specimen_config() -> dict[str, Any]:
    """Settings of `transformers.LlamaConfig`: 3 layers, hidden size 96, tied embeddings."""
    words = vocabulary()
    return {
        "vocab_size": len(words),
        "hidden_size": 96,
        "intermediate_size": 256,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "max_position_embeddings": CONTEXT,
        "tie_word_embeddings": True,
        "pad_token_id": words.index("<pad>"),
        "bos_token_id": words.index("<bos>"),
        "eos_token_id": words.index("<end>"),
    }
