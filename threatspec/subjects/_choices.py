"""How probable given continuations are: the sum of the log-probabilities of their tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from threatspec.subjects._generate import batches
from threatspec.subjects._prefill import Prompts, has_own_loop, read_prompts
from threatspec.subjects._shown import Shown, beside

__all__ = ["log_probabilities"]

Pair = tuple[tuple[int, ...], tuple[int, ...], Shown | None]
"""Token ids of what was said, and of one continuation, neither empty; the image in the former."""


def log_probabilities(
    model: Any, pairs: Sequence[Pair], *, pad: int, device: torch.device, at_once: int
) -> list[float]:
    """Log-probability, in nats, of each continuation; NaN where logits are not finite.

    Either all pairs have an image, or none.
    """
    distinct = list(dict.fromkeys(pairs))
    shown = any(image is not None for _, _, image in pairs)
    one = _batch if has_own_loop(model, shown=shown) else _one_by_one
    known: dict[Pair, float] = {}
    for chosen in batches([said for said, _, _ in distinct], at_once):
        rows = [distinct[n] for n in chosen]
        known |= dict(zip(rows, one(model, rows, pad, device), strict=True))
    return [known[pair] for pair in pairs]


@torch.inference_mode()
def _batch(model: Any, rows: Sequence[Pair], pad: int, device: torch.device) -> list[float]:
    seen = dict.fromkeys((ids, image) for ids, _, image in rows)
    said = {prompt: n for n, prompt in enumerate(seen)}
    asked, shown = zip(*said, strict=True)
    prompts = read_prompts(model, asked, pad, device, shown)
    which = torch.tensor([said[ids, image] for ids, _, image in rows], device=device)
    longest = max(len(tokens) for _, tokens, _ in rows)
    wanted = torch.full((len(rows), longest), pad)
    there = torch.zeros(len(rows), longest, dtype=torch.bool)
    for row, (_, tokens, _) in enumerate(rows):
        wanted[row, : len(tokens)] = torch.tensor(tokens)
        there[row, : len(tokens)] = True
    wanted, there = wanted.to(device), there.to(device)
    logits = prompts.logits[which][:, None]
    if longest > 1:
        logits = torch.cat([logits, _rest(model, prompts, which, wanted[:, :-1])], dim=1)
    found = logits.log_softmax(dim=-1).gather(-1, wanted[..., None])[..., 0]
    return [float(value) for value in found.masked_fill(~there, 0.0).double().sum(dim=-1)]


def _rest(model: Any, prompts: Prompts, which: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Logits [rows, tokens, vocabulary] after each token but the last; padded on the right."""
    count = tokens.shape[1]
    steps = torch.arange(count, device=tokens.device)
    places = (prompts.width - prompts.pads[which])[:, None] + steps
    total = prompts.width + count
    later = torch.arange(total, device=tokens.device) > (prompts.width + steps)[:, None]
    least = torch.finfo(prompts.logits.dtype).min
    mask = torch.zeros(len(tokens), 1, count, total, device=tokens.device)
    mask = mask.to(prompts.logits.dtype).masked_fill_(later, least)
    padded = prompts.mask(which, count)
    if padded is not None:
        mask = torch.minimum(mask, padded)
    out = model(
        input_ids=tokens,
        position_ids=places.clamp(max=_last(model)),
        attention_mask=mask,
        past_key_values=prompts.spread(which, count),
        use_cache=True,
    )
    logits: torch.Tensor = out.logits
    return logits


def _last(model: Any) -> int:
    """The last position there is; what stands behind it here is padding."""
    return int(getattr(model.config, "max_position_embeddings", 2**31)) - 1


@torch.inference_mode()
def _one_by_one(model: Any, rows: Sequence[Pair], pad: int, device: torch.device) -> list[float]:
    """Without a cache or padding, for models that take neither from us."""
    found = []
    for said, tokens, image in rows:
        ids = torch.tensor([[*said, *tokens]], device=device)
        images = beside([image], ids, device)
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), **images).logits[0]
        chances = logits[-len(tokens) - 1 : -1].log_softmax(dim=-1)
        own = chances.gather(-1, ids[0, -len(tokens) :, None])
        found.append(float(own.double().sum()))
    return found
