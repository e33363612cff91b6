"""Prompts go through the model once each, what they have in common once for all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import signature
from itertools import takewhile
from typing import Any

import torch
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer

from threatspec.subjects._shown import Shown, beside

__all__ = ["Prompts", "Slots", "bare", "has_own_loop", "read_prompts"]

_LIKE_WORDS = frozenset({"llava", "idefics3"})
"""Types of models whose images are tokens like any other: plain positions, causal attention."""
_PAYS = 256
"""Positions that a pass of its own over a common beginning has to save."""


class Slots(DynamicLayer):  # type: ignore[misc]
    """Keys and values of one layer [rows, heads, slots, width] with room for what will come.

    Nothing is copied when a token is added, as the base class does.
    """

    def __init__(self, layer: Any, rows: torch.Tensor, room: int) -> None:
        super().__init__()
        self.used = layer.keys.shape[-2]
        self.keys = self._roomy(layer.keys, rows, room)
        self.values = self._roomy(layer.values, rows, room)
        self.dtype, self.device = self.keys.dtype, self.keys.device
        self.is_initialized = True

    def _roomy(self, given: torch.Tensor, rows: torch.Tensor, room: int) -> torch.Tensor:
        _, heads, _, width = given.shape
        made = given.new_empty(len(rows), heads, self.used + room, width)
        made[:, :, : self.used] = given[rows.to(given.device)]
        return made

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        start, self.used = self.used, self.used + key_states.shape[-2]
        self.keys[:, :, start : self.used] = key_states
        self.values[:, :, start : self.used] = value_states
        return self.keys[:, :, : self.used], self.values[:, :, : self.used]

    def get_seq_length(self) -> int:
        return int(self.used)

    def keep(self, rows: torch.Tensor) -> None:
        """Forget all rows but these."""
        rows = rows.to(self.keys.device)
        self.keys, self.values = self.keys[rows], self.values[rows]


class Prompts:
    """What a model has read: distinct prompts, padded on the left after their common beginning.

    Attributes:
        logits: of the token after each [prompts, vocabulary].
        pads: how many slots of each hold nothing [prompts].
        width: slots that are used.
    """

    def __init__(
        self, logits: torch.Tensor, cache: Any, pads: torch.Tensor, shared: int, width: int
    ) -> None:
        self.logits, self.cache, self.pads = logits, cache, pads
        self.shared, self.width = shared, width

    def spread(self, rows: torch.Tensor, room: int) -> Any:
        """A cache with a row for each entry of `rows` (indices of prompts), and room for more."""
        return Cache(layers=[Slots(layer, rows, room) for layer in self.cache.layers])

    def mask(self, rows: torch.Tensor, room: int) -> torch.Tensor | None:
        """What is added to attention [rows, 1, 1, width + room]; None where nothing is padded."""
        pads = self.pads[rows]
        if not bool(pads.any()):
            return None
        return _additive(_hidden(pads, self.shared, self.width + room), self.logits.dtype)[
            :, None, None
        ]


def bare(model: Any) -> Any:
    """The model inside an adapter of peft, if there is one around it."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def has_own_loop(model: Any, *, shown: bool = False) -> bool:
    """Whether a model takes positions, masks and a plain cache from us.

    Adapters that write virtual tokens, layers with windows or states, and other kernels of
    attention are left to `generate` of transformers; so are images (`shown`), unless the model is
    known to place their tokens one after the other like words.
    """
    if shown and bare(model).config.model_type not in _LIKE_WORDS:
        return False
    adapter = getattr(model, "active_peft_config", None)
    if adapter is not None and adapter.is_prompt_learning:
        return False
    inner = bare(model)
    if inner.config._attn_implementation not in {"sdpa", "eager"}:
        return False
    takes = {"position_ids", "past_key_values", "attention_mask", "logits_to_keep"}
    if not takes <= set(signature(inner.forward).parameters):
        return False
    return all(type(layer) is DynamicLayer for layer in DynamicCache(config=inner.config).layers)


def read_prompts(
    model: Any,
    prompts: Sequence[tuple[int, ...]],
    pad: int,
    device: torch.device,
    shown: Sequence[Shown | None] = (),
) -> Prompts:
    """One pass over distinct prompts, none of which is empty; `shown`: each with its image."""
    width, count = max(map(len, prompts)), len(prompts)
    shared = 0 if any(shown) else _shared(prompts)
    pads = torch.tensor([width - len(prompt) for prompt in prompts])
    cache = DynamicCache(config=bare(model).config)
    if shared:
        _pass(model, torch.tensor([prompts[0][:shared]]), cache, None, None, device)
        for layer in cache.layers:
            layer.reorder_cache(torch.zeros(count, dtype=torch.long))
    rest = torch.full((count, width - shared), pad)
    for row, prompt in enumerate(prompts):
        rest[row, width - len(prompt) :] = torch.tensor(prompt[shared:])
    slots = torch.arange(shared, width)
    places = (slots - pads[:, None]).clamp(min=0)
    mask = None
    if shared or bool(pads.any()):
        hidden = _hidden(pads, shared, width)[:, None, :] | (torch.arange(width) > slots[:, None])
        mask = _additive(hidden, bare(model).dtype)[:, None]
    logits = _pass(model, rest, cache, places, mask, device, beside(shown, rest, device))
    return Prompts(logits, cache, pads.to(device), shared, width)


def _shared(prompts: Sequence[tuple[int, ...]]) -> int:
    """Tokens at the beginning that are read once for all; at least one of each prompt is left."""
    pairs = zip(min(prompts), max(prompts), strict=False)
    common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    common = min(common, min(map(len, prompts)) - 1)
    return common if common * (len(prompts) - 1) >= _PAYS else 0


def _pass(
    model: Any,
    ids: torch.Tensor,
    cache: Any,
    places: torch.Tensor | None,
    mask: torch.Tensor | None,
    device: torch.device,
    images: Mapping[str, torch.Tensor] | None = None,
) -> torch.Tensor:
    given: dict[str, Any] = {"position_ids": places, "attention_mask": mask, **(images or {})}
    given = {name: None if value is None else value.to(device) for name, value in given.items()}
    out = model(
        input_ids=ids.to(device), past_key_values=cache, use_cache=True, logits_to_keep=1, **given
    )
    logits: torch.Tensor = out.logits[:, -1]
    return logits


def _hidden(pads: torch.Tensor, shared: int, slots: int) -> torch.Tensor:
    """Which slots [rows, slots] hold padding: those after the common beginning."""
    slot = torch.arange(slots, device=pads.device)
    return (slot >= shared) & (slot < shared + pads[:, None])


def _additive(hidden: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    made = torch.zeros(hidden.shape, dtype=dtype, device=hidden.device)
    return made.masked_fill_(hidden, torch.finfo(dtype).min)
