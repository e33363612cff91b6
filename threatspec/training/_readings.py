"""Readings of a model before, during and after a training run; the same for every back-end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from threatspec.records import ArtefactStore
from threatspec.subjects import WeightTamper
from threatspec.subjects._resident import ResidentSubject
from threatspec.training._batches import Encoded, collate
from threatspec.training._job import Hyperparameters
from threatspec.training._policy import TrainingPolicy
from threatspec.training._resident import _is_lora, _loss, _product, adapter_config

__all__ = ["Readings"]

_PROBE_BATCH = 64


class Readings:
    """Loss on the distinct rows, size of what may move, distance moved; never charged.

    Args:
        subject: whose model it is.
        model: the subject's model, perhaps wrapped in an adapter, before the first step.
        rows: what is trained on.
        hyper: adapter or not.
        base: the subject's own tensors by name, which training leaves alone; no copies.
    """

    def __init__(
        self,
        subject: ResidentSubject,
        model: nn.Module,
        rows: Sequence[Encoded],
        hyper: Hyperparameters,
        base: Mapping[str, torch.Tensor],
    ) -> None:
        self._pad, self.model, self._adapter = subject.end, model, hyper.adapter
        self._distinct = list({(row.ids, row.start): row for row in rows}.values())
        self._own = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self._base = base

    @property
    def rows(self) -> int:
        """Distinct training rows."""
        return len(self._distinct)

    @property
    def size(self) -> int:
        """Parameters that may move."""
        return sum(parameter.numel() for parameter in self._own.values())

    @torch.no_grad()
    def probe(self) -> float:
        """Mean loss per token with loss over all distinct rows, nats."""
        total = tokens = 0.0
        for start in range(0, self.rows, _PROBE_BATCH):
            batch = collate(self._distinct[start : start + _PROBE_BATCH], self._pad)
            share = batch.weights.sum().item()
            total += _loss(self.model, batch, TrainingPolicy()).item() * share
            tokens += share
        return round(total / max(tokens, 1e-12), 6)

    def checkpoint(self, store: ArtefactStore) -> WeightTamper:
        """The weights, or the adapter, as they are."""
        if self._adapter is None:
            name = store.save({n: p.detach() for n, p in self._own.items()})
            return WeightTamper(artefact=name, form="dense")
        from peft import get_peft_model_state_dict

        name = store.save(get_peft_model_state_dict(self.model))
        config = adapter_config(self._adapter)
        return WeightTamper(artefact=name, form="adapter", adapter=config)

    def weight_delta(self) -> float:
        """L2 norm of the change of the effective weights (an adapter counts by its product)."""
        if self._adapter is None:
            changes = [p.detach() - self._base[name] for name, p in self._own.items()]
        else:
            changes = [_product(module) for module in self.model.modules() if _is_lora(module)]
        squares = sum(float(change.double().square().sum()) for change in changes)
        return float(f"{squares**0.5:.6g}")
