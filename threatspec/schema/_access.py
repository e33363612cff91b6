"""Access: what an adversary can touch. Adversaries compare by set inclusion."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["PRESETS", "Access", "Capability", "capabilities"]


class Capability(StrEnum):
    """One thing an adversary may do with the subject."""

    CHAT = "chat"
    SYSTEM_PROMPT = "system_prompt"
    TEMPLATE = "template"
    PREFILL = "prefill"
    DECODING = "decoding"
    LOGPROBS = "logprobs"
    IMAGE = "image"
    FINETUNE_DATA = "finetune_data"
    FINETUNE_HYPERPARAMETERS = "finetune_hyperparameters"
    GRADIENTS = "gradients"
    WEIGHTS_READ = "weights_read"
    WEIGHTS_WRITE = "weights_write"
    TRAINING_DATA_WRITE = "training_data_write"


Access = frozenset[Capability]

_C = Capability
PRESETS: dict[str, Access] = {
    "chat-api": frozenset({_C.CHAT}),
    "completion-api": frozenset(
        {_C.CHAT, _C.SYSTEM_PROMPT, _C.TEMPLATE, _C.PREFILL, _C.DECODING, _C.LOGPROBS}
    ),
    "finetuning-api": frozenset(
        {_C.CHAT, _C.SYSTEM_PROMPT, _C.DECODING, _C.FINETUNE_DATA, _C.FINETUNE_HYPERPARAMETERS}
    ),
    "open-weights": frozenset(Capability) - {_C.TRAINING_DATA_WRITE},
    "data-supplier": frozenset({_C.TRAINING_DATA_WRITE}),
}
"""Named sets of capabilities."""


def capabilities(access: str | tuple[str, ...]) -> Access:
    """The capabilities meant by a preset or by a list. Raises ValueError for unknown names."""
    if isinstance(access, str):
        if access not in PRESETS:
            raise ValueError(
                f"access must be one of {', '.join(PRESETS)} or a list of capabilities"
            )
        return PRESETS[access]
    return frozenset(Capability(name) for name in access)
