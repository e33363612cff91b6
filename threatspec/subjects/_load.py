"""Loading weights and tokenizers: safetensors only, no code of the model is ever run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from threatspec.subjects._locate import locate

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["load_model", "specimen_model"]


def load_model(ref: str, folder: Path = Path()) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model in float32 and its tokenizer. Raises ThreatspecError TS-MODEL-MISSING."""
    place = locate(ref, folder)
    return _specimen(place) if ref.startswith("specimen:") else _folder(place)


def specimen_model() -> PreTrainedModel:
    """A specimen without its weights: Llama of `specimen_config`, initialised by torch's seed."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from threatspec.subjects.specimens import specimen_config

    return LlamaForCausalLM(LlamaConfig(**specimen_config()))


def _specimen(weights: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    from safetensors.torch import load_file

    from threatspec.subjects.specimens import build_tokenizer

    model = specimen_model()
    stored = {name: tensor.float() for name, tensor in load_file(weights).items()}
    for name, parameter in model.named_parameters():
        parameter.data = stored.pop(name)
    if stored:
        raise ValueError(
            f"{weights.name} must hold the model's parameters only, but has {list(stored)}"
        )
    return model, build_tokenizer()


def _folder(folder: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    model = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=torch.float32,
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
    )
    # How replies are decoded is the serving's to say, not the folder's generation_config.json.
    model.generation_config = GenerationConfig()
    tokenizer = AutoTokenizer.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False
    )
    return model, tokenizer
