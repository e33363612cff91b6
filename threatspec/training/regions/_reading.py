"""Running rows through a subject and reading what goes into its layers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from threatspec.errors import ThreatspecError
from threatspec.subjects._resident import ResidentSubject, input_device
from threatspec.training._batches import Batch, Encoded, collate
from threatspec.training.regions._layers import Matrix, fused_names, is_fused

__all__ = ["Take", "forward", "micro_batches", "read_inputs"]

_MICRO_BATCH = 8

Take = Callable[[Matrix, torch.Tensor], None]
"""Given a matrix and the inputs of one micro-batch, [response tokens, inputs].

Matrices that read the same tensor one after the other are given the very same object."""


def micro_batches(
    subject: ResidentSubject, rows: Sequence[Encoded], size: int = _MICRO_BATCH
) -> Iterator[Batch]:
    """Rows of about the same length together, on the subject's device."""
    ordered = sorted(rows, key=lambda row: len(row.ids))
    for start in range(0, len(ordered), size):
        batch = collate(ordered[start : start + size], subject.end)
        yield batch.to(input_device(subject.model))


def forward(model: nn.Module, batch: Batch, last: int = 1) -> torch.Tensor:
    """Logits of at least the `last` positions; of no others where a model can leave them out."""
    spare = {"logits_to_keep": last} if _can_spare(model) else {}
    logits: torch.Tensor = model(
        input_ids=batch.ids, attention_mask=batch.mask, use_cache=False, **spare
    ).logits
    return logits


def _can_spare(model: nn.Module) -> bool:
    return "logits_to_keep" in inspect.signature(model.forward).parameters


@torch.no_grad()
def read_inputs(
    subject: ResidentSubject, rows: Sequence[Encoded], matrices: Sequence[Matrix], take: Take
) -> None:
    """Give `take` the inputs of every matrix at response tokens, prompt and padding left out.

    The response is everything from its first token to the end of the turn. An expert's inputs are
    those of the tokens that are routed to it.
    """
    for batch in micro_batches(subject, rows):
        with _hooked(matrices, _Reader((batch.positions >= 0).flatten(), take)):
            forward(subject.model, batch)


class _Reader:
    """Selects response tokens of what a layer is given; equal inputs are selected once."""

    def __init__(self, response: torch.Tensor, take: Take) -> None:
        self.response, self.take = response, take
        self._seen: torch.Tensor | None = None
        self._tokens = torch.empty(0)

    def linear(self, matrix: Matrix, hidden: torch.Tensor) -> None:
        if hidden is not self._seen:
            self._seen, self._tokens = hidden, self._selected(matrix, hidden)
        self.take(matrix, self._tokens)

    def _selected(self, matrix: Matrix, hidden: torch.Tensor) -> torch.Tensor:
        tokens = hidden.reshape(-1, hidden.shape[-1])
        if len(tokens) != len(self.response):
            raise ThreatspecError(
                "TS-TARGETS",
                f"a layer must see every token once to be scored, but {matrix.name} was given "
                f"{len(tokens)} of {len(self.response)}",
            )
        return tokens[self.response.to(tokens.device)]

    def experts(
        self, up: list[Matrix], down: list[Matrix], hidden: torch.Tensor, chosen: torch.Tensor
    ) -> None:
        """Inputs of fused experts; what goes down is computed again, for response tokens only."""
        tokens = self._selected(up[0], hidden)
        routes = chosen.reshape(-1, chosen.shape[-1])[self.response.to(chosen.device)]
        for number, (rising, falling) in enumerate(zip(up, down, strict=True)):
            own = tokens[(routes == number).any(-1)]
            self.take(rising, own)
            self.take(falling, _inner(rising, own))


def _inner(up: Matrix, tokens: torch.Tensor) -> torch.Tensor:
    """What one expert computes between its two matrices."""
    module: Any = up.module
    raised = tokens @ up.weight.T
    bias = getattr(module, f"{up.leaf}_bias", None)
    raised = raised if bias is None else raised + bias[up.part]
    inner: torch.Tensor = module._apply_gate(raised) if module.has_gate else module.act_fn(raised)
    return inner


@contextmanager
def _hooked(matrices: Sequence[Matrix], reader: _Reader) -> Iterator[None]:
    handles = []
    try:
        for module, own in _by_module(matrices):
            hook = _expert_hook(module, own, reader) if is_fused(module) else _hook(own[0], reader)
            handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _by_module(matrices: Sequence[Matrix]) -> list[tuple[nn.Module, list[Matrix]]]:
    found: dict[int, tuple[nn.Module, list[Matrix]]] = {}
    for matrix in matrices:
        found.setdefault(id(matrix.module), (matrix.module, []))[1].append(matrix)
    return list(found.values())


def _hook(matrix: Matrix, reader: _Reader) -> Callable[..., None]:
    def hook(_module: nn.Module, given: tuple[Any, ...], _named: dict[str, Any]) -> None:
        reader.linear(matrix, given[0])

    return hook


def _expert_hook(module: nn.Module, own: list[Matrix], reader: _Reader) -> Callable[..., None]:
    up, down = ([m for m in own if m.leaf == name] for name in fused_names(module))

    def hook(_module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        names = ("hidden_states", "top_k_index")
        hidden, chosen = (*given, *(named[name] for name in names[len(given) :]))[:2]
        reader.experts(up, down, hidden, chosen)

    return hook
