"""Loading weights and tokenizers: safetensors only, no code of the model is ever run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from threatspec.errors import ThreatspecError
from threatspec.subjects._locate import locate

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["chosen_device", "load_model", "require_whole", "specimen_model"]


def load_model(
    ref: str, folder: Path = Path(), *, device: str = "auto", device_map: str | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model in float32 and its tokenizer; a specimen is too small for a `device_map`.

    Raises ThreatspecError TS-MODEL-MISSING, TS-RUNNER-RESOURCES for a device that is not there.
    """
    place, chosen = locate(ref, folder), chosen_device(device)
    if ref.startswith("specimen:"):
        model, tokenizer = _specimen(place)
        return model.to(chosen), tokenizer
    model, tokenizer = _folder(place, device_map)
    if device_map:
        require_whole(model, ref)
        return model, tokenizer
    return model.to(chosen), tokenizer


def require_whole(model: PreTrainedModel, ref: str) -> None:
    """What did not fit is left out by a device map, and could be neither read nor trained.

    Raises ThreatspecError TS-RUNNER-RESOURCES.
    """
    if any(parameter.is_meta for parameter in model.parameters()):
        raise ThreatspecError(
            "TS-RUNNER-RESOURCES",
            f"{ref} must fit into the memory of the devices that it is laid over, but does not; "
            "give a worker more GPUs (`resources` of the runner profile)",
        )


def chosen_device(wanted: str) -> str:
    """Name of the device `wanted`; `auto` is a GPU if there is one.

    Raises ThreatspecError TS-RUNNER-RESOURCES for one that is not there.
    """
    import torch

    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    there = {"cpu"}
    if torch.cuda.is_available():
        there |= {"cuda", *(f"cuda:{n}" for n in range(torch.cuda.device_count()))}
    if torch.backends.mps.is_available():
        there.add("mps")
    if wanted not in there:
        raise ThreatspecError(
            "TS-RUNNER-RESOURCES",
            f"device must be one of those of this machine ({', '.join(sorted(there))}), but is "
            f"{wanted}; change `device` of the runner profile",
        )
    return wanted


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


def _folder(
    folder: Path, device_map: str | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    model = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=torch.float32,
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
        **({"device_map": device_map} if device_map else {}),
    )
    # How replies are decoded is the serving's to say, not the folder's generation_config.json.
    model.generation_config = GenerationConfig()
    tokenizer = AutoTokenizer.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False
    )
    return model, tokenizer
