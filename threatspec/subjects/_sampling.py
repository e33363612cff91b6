"""How the next token is chosen: greedily, or by numbers that belong to one reply and no other."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import numpy as np
import torch

from threatspec.schema import Serving

__all__ = ["Chooser", "draw", "uniforms"]

_NUCLEUS = 64
"""So many of the most probable tokens are looked at before all are put in order."""


def uniforms(key: Sequence[object], count: int) -> np.ndarray:
    """Numbers in [0, 1) [count] that depend on `key` alone (Philox, counted up from a hash)."""
    digest = hashlib.sha256(json.dumps(list(key)).encode()).digest()
    bits = np.random.Philox(key=int.from_bytes(digest[:16], "little"))
    return np.random.Generator(bits).random(count)


def draw(logits: torch.Tensor, serving: Serving, numbers: torch.Tensor) -> torch.Tensor:
    """Tokens [rows] by inverse cumulative probability, in the order of the vocabulary.

    Temperature, then top-k, then top-p (of what is left); tokens as probable as the last one that
    is kept are kept as well, so that no order among equals decides.

    Args:
        logits: [rows, vocabulary].
        numbers: [rows], each in [0, 1).
    """
    logits = logits / serving.temperature
    if serving.top_k is not None and serving.top_k < logits.shape[-1]:
        least = logits.topk(serving.top_k).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    chances = logits.softmax(dim=-1)
    if serving.top_p < 1:
        chances = chances.masked_fill(chances < _least(chances, serving.top_p), 0.0)
    reached = chances.cumsum(dim=-1, dtype=torch.float64)
    aim = numbers[:, None] * reached[:, -1:]
    found = torch.searchsorted(reached, aim, right=True)[:, 0]
    return found.clamp(max=logits.shape[-1] - 1)


def _least(chances: torch.Tensor, together: float) -> torch.Tensor:
    """The smallest probability [rows, 1] among the most probable tokens that reach `together`."""
    most = min(_NUCLEUS, chances.shape[-1])
    top = chances.topk(most).values
    needed = (top.cumsum(dim=-1) - top) < together
    if most < chances.shape[-1] and bool(needed[:, -1].any()):
        top = chances.sort(dim=-1, descending=True).values
        needed = (top.cumsum(dim=-1) - top) < together
    return top.gather(-1, needed.sum(dim=-1, keepdim=True) - 1)


class Chooser:
    """Chooses for a batch whose rows may have different servings.

    Args:
        servings: one for each row.
        keys: what the numbers of a row depend on; greedy rows need none.
        most: tokens of the longest reply.
        device: where logits are.
    """

    def __init__(
        self,
        servings: Sequence[Serving],
        keys: Sequence[Sequence[object]],
        most: int,
        device: torch.device,
    ) -> None:
        sampled = [serving.decoding == "sample" for serving in servings]
        numbers = np.zeros((len(servings), most))
        for row, (serving, key) in enumerate(zip(servings, keys, strict=True)):
            if sampled[row]:
                numbers[row, : serving.max_tokens] = uniforms(key, serving.max_tokens)
        kinds: dict[tuple[object, ...], int] = {}
        which = [
            kinds.setdefault((s.temperature, s.top_p, s.top_k), len(kinds)) if drawn else -1
            for s, drawn in zip(servings, sampled, strict=True)
        ]
        self._examples = {kind: s for kind, s in zip(which, servings, strict=True) if kind >= 0}
        self._kinds, self._numbers = torch.tensor(which), torch.from_numpy(numbers)
        self._device = device
        self.keep(torch.arange(len(servings)))

    def keep(self, rows: torch.Tensor) -> None:
        """Go on with some rows of the batch."""
        rows = rows.to(self._kinds.device)
        self._kinds, self._numbers = self._kinds[rows], self._numbers[rows].to(self._device)
        self._groups = [
            (serving, (self._kinds == kind).nonzero()[:, 0].to(self._device))
            for kind, serving in self._examples.items()
            if bool((self._kinds == kind).any())
        ]

    def __call__(self, logits: torch.Tensor, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens [rows], and which rows [rows] have no finite logits to choose by."""
        best, tokens = logits.max(dim=-1)
        for serving, rows in self._groups:
            numbers = self._numbers[rows, step]
            tokens[rows] = draw(logits[rows], serving, numbers)
        return tokens, ~best.isfinite()
