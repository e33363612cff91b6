"""Replies in batches: by length, prompts read once, finished rows leave.

Logits of one row differ by rounding from batch to batch, so replies are the same in any company
unless two tokens (or, where they are drawn, a number and the border between two tokens) are closer
than that: about 1e-5 of a logit in float32.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import LogitsProcessor, LogitsProcessorList

from threatspec.schema import Serving
from threatspec.subjects._prefill import has_own_loop, read_prompts
from threatspec.subjects._sampling import Chooser
from threatspec.subjects._shown import Shown, beside

__all__ = ["Wanted", "batches", "write"]

_LEAVE = 0.75
"""Once no more than this share of a batch is unfinished, the rest is forgotten."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One reply that is to be written."""

    ids: tuple[int, ...]
    """What it follows; not empty."""
    serving: Serving
    key: tuple[object, ...] = ()
    """What drawn numbers depend on."""
    shown: Shown | None = None
    """The image that stands in `ids`."""


def write(
    model: Any, wanted: Sequence[Wanted], *, end: int, pad: int, device: torch.device, at_once: int
) -> list[list[int] | None]:
    """Token ids of replies, in order, without what ends them; None where logits are not finite.

    Args:
        model: a causal language model in evaluation mode.
        end: token that ends a reply.
        pad: any token.
        device: where token ids are wanted.
        at_once: rows that go through the model together at most.
    """
    found: list[list[int] | None] = [None] * len(wanted)
    for shown in (False, True):
        one = _loop if has_own_loop(model, shown=shown) else _left_to_transformers
        numbers = [n for n, row in enumerate(wanted) if (row.shown is not None) == shown]
        for batch in batches([wanted[n].ids for n in numbers], at_once):
            rows = [wanted[numbers[n]] for n in batch]
            for n, ids in zip(batch, one(model, rows, end, pad, device), strict=True):
                found[numbers[n]] = ids
    return found


def batches(prompts: Sequence[tuple[int, ...]], at_once: int) -> Iterator[list[int]]:
    """Indices in batches: by length, equal prompts side by side."""
    order = sorted(range(len(prompts)), key=lambda n: (len(prompts[n]), prompts[n], n))
    for start in range(0, len(order), at_once):
        yield order[start : start + at_once]


def _chooser(rows: Sequence[Wanted], device: torch.device) -> tuple[Chooser, int]:
    most = max(row.serving.max_tokens for row in rows)
    return Chooser([r.serving for r in rows], [r.key for r in rows], most, device), most


@torch.inference_mode()
def _loop(
    model: Any, rows: Sequence[Wanted], end: int, pad: int, device: torch.device
) -> list[list[int] | None]:
    seen = dict.fromkeys((row.ids, row.shown) for row in rows)
    distinct = {prompt: n for n, prompt in enumerate(seen)}
    ids, shown = zip(*distinct, strict=True)
    prompts = read_prompts(model, ids, pad, device, shown)
    which = torch.tensor([distinct[row.ids, row.shown] for row in rows], device=device)
    choose, most = _chooser(rows, device)
    own = torch.tensor([row.serving.max_tokens for row in rows], device=device)
    first = prompts.width - prompts.pads[which]  # position of the first token of each reply
    last = first + own - 1
    cache, mask = prompts.spread(which, most - 1), prompts.mask(which, most - 1)
    logits, here = prompts.logits[which], torch.arange(len(rows), device=device)
    found = torch.full((len(rows), most), end, device=device)
    broken = torch.zeros(len(rows), dtype=torch.bool, device=device)
    going = torch.ones_like(broken)
    for step in range(most):
        tokens, bad = choose(logits, step)
        found[here, step] = tokens
        broken[here] |= bad & going
        going = going & (tokens != end) & (own > step + 1) & ~bad
        left = int(going.sum())
        if not left:
            break
        if left <= _LEAVE * len(here):
            kept = going.nonzero()[:, 0]
            choose.keep(kept)
            for layer in cache.layers:
                layer.keep(kept)
            here, own, first, last = here[kept], own[kept], first[kept], last[kept]
            tokens, going = tokens[kept], going[kept]
            mask = mask if mask is None else mask[kept]
        out = model(
            input_ids=tokens[:, None],
            position_ids=torch.minimum(first + step, last)[:, None],
            attention_mask=mask if mask is None else mask[..., : prompts.width + step + 1],
            past_key_values=cache,
            use_cache=True,
        )
        logits = out.logits[:, -1]
    return _cut(found, broken, rows, end)


def _cut(
    found: torch.Tensor, broken: torch.Tensor, rows: Sequence[Wanted], end: int
) -> list[list[int] | None]:
    made: list[list[int] | None] = []
    for ids, lost, row in zip(found.tolist(), broken.tolist(), rows, strict=True):
        ids = ids[: row.serving.max_tokens]
        made.append(None if lost else ids[: ids.index(end)] if end in ids else ids)
    return made


class _Forced(LogitsProcessor):  # type: ignore[misc]
    """Leaves `generate` no choice but ours, and notes rows whose logits are not finite."""

    def __init__(self, choose: Chooser, rows: int, end: int, device: torch.device) -> None:
        self._choose, self._end, self._step = choose, end, 0
        self.broken = torch.zeros(rows, dtype=torch.bool, device=device)
        self._over = self.broken.clone()

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        tokens, bad = self._choose(scores, self._step)
        self._step += 1
        self.broken |= bad & ~self._over
        self._over |= bad | (tokens == self._end)
        tokens = tokens.masked_fill(self._over, self._end)
        return torch.full_like(scores, -torch.inf).scatter_(1, tokens[:, None], 0.0)


@torch.inference_mode()
def _left_to_transformers(
    model: Any, rows: Sequence[Wanted], end: int, pad: int, device: torch.device
) -> list[list[int] | None]:
    width = max(len(row.ids) for row in rows)
    ids = torch.full((len(rows), width), pad)
    mask = torch.zeros_like(ids)
    for n, row in enumerate(rows):
        ids[n, width - len(row.ids) :] = torch.tensor(row.ids)
        mask[n, width - len(row.ids) :] = 1
    choose, most = _chooser(rows, device)
    forced = _Forced(choose, len(rows), end, device)
    settings: dict[str, Any] = {
        "max_new_tokens": most, "do_sample": False, "num_beams": 1, "use_cache": True,
        "temperature": None, "top_p": None, "top_k": None,
        "eos_token_id": end, "pad_token_id": pad, "logits_processor": LogitsProcessorList([forced]),
    }  # fmt: skip
    settings |= beside([row.shown for row in rows], ids, device)
    out = model.generate(input_ids=ids.to(device), attention_mask=mask.to(device), **settings)
    return _cut(out[:, width:], forced.broken, rows, end)
