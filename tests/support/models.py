"""Tiny models made by tests, in the layouts that subjects are loaded from."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

__all__ = ["Trap", "hub_copy", "save_tiny", "write_pickle"]


def save_tiny(folder: Path, *, seed: int = 0, **settings: Any) -> int:
    """Save a random Llama with the tokenizer of the specimens; returns torch's parameter count."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from threatspec.subjects.specimens import build_tokenizer, specimen_config

    shape = {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
    }
    torch.manual_seed(seed)
    model = LlamaForCausalLM(LlamaConfig(**{**specimen_config(), **shape, **settings}))
    model.save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)
    return sum(parameter.numel() for parameter in model.parameters())


def hub_copy(cache: Path, folder: Path, repository: str, revision: str, name: str = "main") -> Path:
    """Lay `folder` out as a hub's local cache does; returns the folder of the snapshot."""
    place = cache / ("models--" + repository.replace("/", "--"))
    snapshot = place / "snapshots" / revision
    snapshot.mkdir(parents=True)
    for file in folder.iterdir():
        (snapshot / file.name).write_bytes(file.read_bytes())
    (place / "refs").mkdir()
    (place / "refs" / name).write_text(revision, encoding="utf-8")
    return snapshot


class Trap:
    """An object whose pickle makes a folder when it is loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.marker),)


def write_pickle(folder: Path, marker: Path) -> None:
    """Put weights into `folder` as a pickle that leaves `marker` behind when it is loaded."""
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Trap(marker)))
