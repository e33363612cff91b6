"""Objective `rerouting`: hidden states of unwanted answers are turned away from where they were.

Source: arXiv 2406.04313, representation rerouting with low-rank representation adaptation. With t
steps done of T and x over tokens, averaged over layers and tokens:
    c_s * ReLU(cos(rep_now(x_cb), rep_before(x_cb))) + c_r * ||rep_now(x_r) - rep_before(x_r)||_2
    c_s = alpha * (1 - t / 2T),  c_r = alpha * t / 2T
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.functional import cosine_similarity

from threatspec.errors import ThreatspecError
from threatspec.records import Spend
from threatspec.subjects._hidden import Change, watched
from threatspec.training._batches import Batch, Encoded
from threatspec.training._flops import forward_flops, training_flops
from threatspec.training._job import TrainingJob
from threatspec.training._loss import logits_of
from threatspec.training.objectives.base import Objective

if TYPE_CHECKING:
    from threatspec.training._resident import ResidentTrainer

__all__ = ["Method", "coefficients", "distance", "likeness"]

States = Mapping[int, torch.Tensor]
"""By layer, hidden states [rows, length, hidden]."""


def coefficients(alpha: float, done: int, steps: int) -> tuple[float, float]:
    """(c_s, c_r) after `done` of `steps` steps: from (alpha, 0) towards (alpha / 2, alpha / 2)."""
    progress = done / (2 * steps)
    return alpha * (1 - progress), alpha * progress


def likeness(now: States, before: States, mask: torch.Tensor) -> torch.Tensor:
    """Mean over layers and masked tokens of the cosine, negative ones as 0."""
    each = [
        cosine_similarity(state.float(), before[layer].float(), dim=-1)[mask].relu().mean()
        for layer, state in now.items()
    ]
    return torch.stack(each).mean()


def distance(now: States, before: States, mask: torch.Tensor) -> torch.Tensor:
    """Mean over layers and masked tokens of the L2 distance."""
    each = [
        (state.float() - before[layer].float()).norm(dim=-1)[mask].mean()
        for layer, state in now.items()
    ]
    return torch.stack(each).mean()


class Method(Objective):
    """`rows` are rerouted, those beside them are held. Settings: alpha, layers, held, span,
    nudge."""

    def __init__(
        self, trainer: ResidentTrainer, model: nn.Module, job: TrainingJob, rows: list[Encoded]
    ) -> None:
        super().__init__(trainer, model, job, rows)
        if not hasattr(model, "disable_adapter"):
            text = "rerouting must train an adapter, which can be switched off, but trains weights"
            raise ThreatspecError("TS-TRIAL-ERROR", text)
        self.alpha = float(self.settings["alpha"])
        self.rerouted = tuple(int(layer) for layer in self.settings["layers"])
        self.held = tuple(range(1, max(self.rerouted) + 1))
        self.size = sum(p.numel() for p in model.parameters() if p.requires_grad)
        self._parts: tuple[int, Batch, Batch] | None = None
        self._nudge(float(self.settings["nudge"]))

    @torch.no_grad()
    def _nudge(self, size: float) -> None:
        """A cosine is at its maximum where nothing has changed yet, and has no slope there."""
        for parameter in self.model.parameters():
            if parameter.requires_grad and not parameter.any():
                noise = torch.randn(parameter.shape, generator=self.noise)
                parameter.add_(noise.to(parameter), alpha=size)

    def cost(self, step: int, chosen: Sequence[int]) -> Spend:
        """Both kinds of rows, once as the model was and once as it is trained."""
        return sum((self._spend(part) for part in self._batches(step, chosen)), Spend())

    def backward(self, step: int, chosen: Sequence[int]) -> float:
        """The loss; cosine and distance are noted without their coefficients."""
        turned, held = self._batches(step, chosen)
        reroute, retain = coefficients(self.alpha, step - 1, self.job.hyperparameters.steps)
        span = turned.positions >= 0 if self.settings["span"] == "answer" else turned.mask > 0
        cosine = self._compared(turned, self.rerouted, span, likeness, reroute)
        moved = self._compared(held, self.held, held.mask > 0, distance, retain)
        self.note("cosine", cosine)
        self.note("distance", moved)
        return reroute * cosine + retain * moved

    def _compared(
        self, batch: Batch, layers: Sequence[int], mask: torch.Tensor, measure: Any, weight: float
    ) -> float:
        """Backward of `weight` times a measure of what the adapter changes; the measure."""
        before = self.states(batch, layers, adapted=False)
        found: torch.Tensor = measure(self.states(batch, layers), before, mask)
        torch.autograd.backward(weight * found)
        return found.item()

    def states(self, batch: Batch, layers: Sequence[int], adapted: bool = True) -> States:
        """Hidden states of layers, or those of the model that training started from."""
        seen: dict[int, torch.Tensor] = {}
        model: Any = self.model
        training = model.training
        try:
            model.train(training and adapted)  # a reference has no dropout
            off = nullcontext() if adapted else model.disable_adapter()
            keeping = {layer: _keeping(seen, layer, max(layers)) for layer in layers}
            with (
                torch.set_grad_enabled(adapted),
                off,
                watched(model, keeping),
                suppress(_EnoughError),
            ):
                logits_of(model, batch)
        finally:
            model.train(training)
        return seen

    def _batches(self, step: int, chosen: Sequence[int]) -> tuple[Batch, Batch]:
        """Rows to reroute and rows to hold, the same ones however often a step is asked about."""
        if self._parts is None or self._parts[0] != step:
            turned = self.batch([self.rows[i] for i in chosen])
            self._parts = (step, turned, self.batch(self.next_beside(int(self.settings["held"]))))
        return self._parts[1:]

    def _spend(self, batch: Batch) -> Spend:
        card, tokens, length = self.subject.card, batch.tokens, batch.length
        trained = training_flops(card, tokens, length, self.size)
        share = max(self.rerouted) / card.layers  # of the blocks that run
        flops = share * (trained + forward_flops(card, tokens, length))
        return Spend(tokens=2 * tokens, flops=flops)


class _EnoughError(Exception):
    """All layers that are looked at were seen: later blocks need not run."""


def _keeping(seen: dict[int, torch.Tensor], layer: int, last: int) -> Change:
    def keep(hidden: torch.Tensor) -> torch.Tensor:
        seen[layer] = hidden
        if layer == last:
            raise _EnoughError
        return hidden

    return keep
