"""Methods of adapting a model beside its weights, as a table. No torch, no peft.

A row says what `peft` calls the method, which knobs an attack has for it and where it acts.
Sources: LoRA 2106.09685, rsLoRA 2312.03732, DoRA 2402.09353, VeRA 2310.11454, LoHa 2108.06098, LoKr
2309.14859, OFT 2306.07280, HRA 2405.17484, FourierFT 2405.03003, MiSS 2409.15371, (IA)3 2205.05638,
LN tuning 2312.11420, prefix tuning 2101.00190, prompt tuning 2104.08691, P-tuning 2103.10385,
LLaMA-Adapter 2303.16199.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from threatspec.errors import ThreatspecError, did_you_mean
from threatspec.training._job import Adapter

__all__ = ["ADAPTERS", "AdapterMethod", "adapter_settings"]


@dataclass(frozen=True, slots=True)
class AdapterMethod:
    """One way to adapt a model."""

    says: str
    """What it trains, in a few words."""
    peft: str
    """`peft_type` of its configuration."""
    targets: Literal["linear", "norms", "blocks", "input"] = "linear"
    """Where it acts; only for `linear` are there target modules to choose."""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """Settings that make it this method."""
    knobs: Mapping[str, str] = field(default_factory=dict)
    """Knob of `adapter-finetune` -> setting in peft."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Values of settings that neither a knob nor an option says."""
    mergeable: bool = True
    """Whether it can be written into the weights: else it is told apart by its own parameters."""

    @property
    def virtual(self) -> bool:
        """Whether it puts tokens that nobody wrote before the row."""
        return self.targets == "input"

    @property
    def embedded(self) -> bool:
        """Whether these tokens go through the model like those of the row."""
        return self.virtual and self.peft != "PREFIX_TUNING"


_RANKED = {"rank": "r", "alpha": "lora_alpha", "dropout": "lora_dropout"}
_LYCORIS = {"rank": "r", "alpha": "alpha", "dropout": "rank_dropout"}
_TOKENS = {"tokens": "num_virtual_tokens"}

ADAPTERS: dict[str, AdapterMethod] = {
    "lora": AdapterMethod(
        "low-rank products beside linear layers", "LORA", knobs=_RANKED,
        defaults={"r": 8, "lora_alpha": 16},
    ),
    "rslora": AdapterMethod(
        "low-rank products that are scaled by the root of their rank", "LORA",
        fixed={"use_rslora": True}, knobs=_RANKED, defaults={"r": 8, "lora_alpha": 16},
    ),
    "dora": AdapterMethod(
        "lengths of the columns of linear layers, and low-rank products for their directions",
        "LORA", fixed={"use_dora": True}, knobs=_RANKED, defaults={"r": 8, "lora_alpha": 16},
    ),
    "vera": AdapterMethod(
        "two vectors that scale random low-rank products shared by all layers", "VERA",
        knobs={"rank": "r", "dropout": "vera_dropout"}, defaults={"r": 64},
    ),
    "loha": AdapterMethod(
        "elementwise products of two low-rank products", "LOHA", knobs=_LYCORIS,
        defaults={"r": 8, "alpha": 8},
    ),
    "lokr": AdapterMethod(
        "Kronecker products with a low-rank factor", "LOKR", knobs=_LYCORIS,
        defaults={"r": 8, "alpha": 8},
    ),
    "oft": AdapterMethod(
        "rotations of blocks of what goes into linear layers", "OFT",
        fixed={"oft_block_size": 0}, knobs={"rank": "r", "dropout": "module_dropout"},
        defaults={"r": 8},
    ),
    "hra": AdapterMethod(
        "reflections of what goes into linear layers", "HRA", knobs={"rank": "r"},
        defaults={"r": 8},
    ),
    "fourierft": AdapterMethod(
        "a few Fourier coefficients of the change of linear layers", "FOURIERFT",
        defaults={"n_frequency": 1000, "scaling": 150.0},
    ),
    "miss": AdapterMethod(
        "one low-rank matrix that is spread over a linear layer", "MISS",
        knobs={"rank": "r", "dropout": "miss_dropout"}, defaults={"r": 8},
    ),
    "ia3": AdapterMethod(
        "vectors that scale what linear layers put out", "IA3",
        defaults={"feedforward_modules": []},
    ),
    "ln-tuning": AdapterMethod(
        "the normalisation layers themselves", "LN_TUNING", targets="norms", mergeable=False,
    ),
    "prefix": AdapterMethod(
        "keys and values before the row, in every block", "PREFIX_TUNING", targets="input",
        knobs=_TOKENS, defaults={"num_virtual_tokens": 30}, mergeable=False,
    ),
    "prompt": AdapterMethod(
        "embeddings before the row", "PROMPT_TUNING", targets="input", knobs=_TOKENS,
        defaults={"num_virtual_tokens": 20}, mergeable=False,
    ),
    "p-tuning": AdapterMethod(
        "embeddings before the row, made by a small network", "P_TUNING", targets="input",
        knobs=_TOKENS, defaults={"num_virtual_tokens": 20, "encoder_hidden_size": 128},
        mergeable=False,
    ),
    "llama-adapter": AdapterMethod(
        "gated attention to learned tokens, in the last blocks", "ADAPTION_PROMPT",
        targets="blocks", knobs={"tokens": "adapter_len", "blocks": "adapter_layers"},
        defaults={"adapter_len": 10, "adapter_layers": 30}, mergeable=False,
    ),
}  # fmt: skip
"""Name in YAML -> method."""


def adapter_settings(adapter: Adapter) -> dict[str, Any]:
    """Settings of the adapter's configuration in peft, as plain data; `peft_type` included.

    Raises ThreatspecError TS-TRIAL-ERROR for a method that is not in the table.
    """
    if adapter.method not in ADAPTERS:
        text = f"unknown adapter {adapter.method!r}{did_you_mean(adapter.method, list(ADAPTERS))}"
        raise ThreatspecError("TS-TRIAL-ERROR", text)
    method = ADAPTERS[adapter.method]
    settings = {**method.defaults, **method.fixed, **adapter.options}
    if method.targets == "linear":
        settings.setdefault("target_modules", "all-linear")
    return {"peft_type": method.peft, "task_type": "CAUSAL_LM", **settings}
