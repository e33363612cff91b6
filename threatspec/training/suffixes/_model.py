"""Losses of many suffixes after one row, and the gradient of the suffix's one-hot tokens.

The loss is the mean negative log-likelihood, in nats, of the row's target. Sequences of one row
are all of one length, so that nothing is ever padded.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional

from threatspec.subjects._resident import ResidentSubject
from threatspec.training.suffixes._frames import Frame

__all__ = ["RowModel", "one_hot_gradient"]

_VOCABULARY_PIECE = 8192


class RowModel:
    """A subject with one row: what precedes the suffix went through the model once.

    Args:
        subject: not changed.
        row: what is asked.
        reuse: whether keys and values of what precedes the suffix are kept; a model whose memory
            is of another form goes without.
        batch: suffixes that go through the model at once.
    """

    def __init__(
        self, subject: ResidentSubject, row: Frame, *, reuse: bool = True, batch: int = 64
    ) -> None:
        self.model: Any = subject.model
        self.device, self.row, self.batch = subject.device, row, batch
        self._prefix = self._run_prefix() if reuse else None
        self._spare = "logits_to_keep" in inspect.signature(self.model.forward).parameters

    @property
    def reuses(self) -> bool:
        """Whether what precedes the suffix is shared."""
        return self._prefix is not None

    @torch.no_grad()
    def _run_prefix(self) -> Any:
        """Keys and values of every layer, of one sequence; None if a model keeps anything else."""
        from transformers import DynamicCache

        head = self._ids([self.row.head])
        cache = self.model(input_ids=head, use_cache=True).past_key_values
        return cache if isinstance(cache, DynamicCache) and _is_whole(cache, head) else None

    @torch.no_grad()
    def losses(self, suffixes: Sequence[Sequence[int]]) -> torch.Tensor:
        """Loss after each suffix, all of one length: [suffixes], in double precision."""
        found = []
        for start in range(0, len(suffixes), self.batch):
            ids = self._ids([self._new(one) for one in suffixes[start : start + self.batch]])
            found.append(self._losses(self._logits(len(ids), input_ids=ids)))
        return torch.cat(found)

    def gradient(self, suffix: Sequence[int]) -> tuple[float, torch.Tensor]:
        """Loss, and its gradient by the embeddings of the suffix: [suffix, width]."""
        ids, skipped = self._ids([self._new(suffix)]), 0 if self.reuses else len(self.row.head)
        with torch.no_grad():
            embedded = self.model.get_input_embeddings()(ids)
        parts = embedded.split([skipped, len(suffix), ids.shape[1] - skipped - len(suffix)], dim=1)
        wanted = parts[1].clone().requires_grad_()
        with torch.enable_grad():
            whole = torch.cat([parts[0], wanted, parts[2]], dim=1)
            loss = self._losses(self._logits(1, inputs_embeds=whole)).sum()
            [found] = torch.autograd.grad(loss, [wanted])
        return loss.item(), found[0].detach()

    def _new(self, suffix: Sequence[int]) -> list[int]:
        """What goes through the model: the last token of the target predicts nothing."""
        head = () if self.reuses else self.row.head
        return [*head, *suffix, *self.row.tail, *self.row.target[:-1]]

    def _logits(self, count: int, **inputs: Any) -> torch.Tensor:
        """[count, target, vocabulary], of the positions that predict the target."""
        last = len(self.row.target)
        spare = {"logits_to_keep": last} if self._spare else {}
        if self._prefix is not None:
            memory = copy.deepcopy(self._prefix)
            memory.batch_repeat_interleave(count)
            inputs = {**inputs, "past_key_values": memory}
        logits: torch.Tensor = self.model(**inputs, use_cache=self.reuses, **spare).logits
        return logits[:, -last:]

    def _losses(self, logits: torch.Tensor) -> torch.Tensor:
        target = self._ids([self.row.target]).expand(len(logits), -1)
        each = functional.cross_entropy(
            logits.transpose(1, 2).double(), target.to(logits.device), reduction="none"
        )
        return each.mean(dim=1)

    def _ids(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        return torch.tensor([list(row) for row in rows], device=self.device)


def _is_whole(cache: Any, head: torch.Tensor) -> bool:
    """Whether every layer kept keys of every token, and nothing else: no window was cut off."""
    kept = [getattr(layer, "keys", None) for layer in cache.layers]
    return bool(kept) and all(
        keys is not None and keys.ndim == 4 and keys.shape[2] == head.shape[1] for keys in kept
    )


@torch.no_grad()
def one_hot_gradient(model: Any, gradient: torch.Tensor) -> torch.Tensor:
    """Of a gradient by embeddings [positions, width], that by one-hot tokens over the vocabulary.

    The vocabulary is embedded piece by piece: models may scale what they look up.
    """
    embed = model.get_input_embeddings()
    found = []
    for start in range(0, embed.num_embeddings, _VOCABULARY_PIECE):
        last = min(start + _VOCABULARY_PIECE, embed.num_embeddings)
        ids = torch.arange(start, last, device=embed.weight.device)
        found.append(gradient @ embed(ids).T)
    return torch.cat(found, dim=1)
