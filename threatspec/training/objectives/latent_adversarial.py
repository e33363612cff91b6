"""Objective `latent-adversarial`: refuse whatever is added to the hidden states of a request.

Source: arXiv 2407.15549, targeted latent adversarial training. An inner adversary looks for vectors
within balls, one for every token of the request at every chosen layer, that make the complying
answer likely and the refusal unlikely; the outer step then makes the refusal likely and the
complying answer unlikely while they are there, and keeps other answers without them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.functional import pad

from threatspec.errors import ThreatspecError
from threatspec.records import Spend
from threatspec.subjects._hidden import Change, watched
from threatspec.training._batches import Batch, Encoded
from threatspec.training._flops import forward_flops, training_flops
from threatspec.training._job import TrainingJob
from threatspec.training._loss import logits_of
from threatspec.training._perturbation import mean_norms
from threatspec.training.objectives.base import Objective

if TYPE_CHECKING:
    from threatspec.training._resident import ResidentTrainer

__all__ = ["Method", "away", "into_ball", "toward"]

Vectors = dict[int, torch.Tensor]
"""By layer, what is added to each token of each request: [requests, longest request, hidden]."""
_INSIDE = 1 - 1e-6
"""Rounding must not carry a vector out of its ball."""


def toward(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Mean of -log p over the tokens of the answers, nats."""
    return _mean(-_log_p(logits, batch), batch)


def away(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Mean of -log(1 - p) over the tokens of the answers, nats; finite and smooth near p = 1."""
    scores = logits[:, :-1].float()
    wanted = batch.ids[:, 1:].unsqueeze(-1)
    others = scores.scatter(-1, wanted, float("-inf")).logsumexp(-1)
    return _mean(scores.logsumexp(-1) - others, batch)


@torch.no_grad()
def into_ball(vectors: torch.Tensor, radius: float) -> torch.Tensor:
    """Vectors [..., hidden] that are longer than `radius` are cut down to it."""
    norms = vectors.norm(dim=-1, keepdim=True)
    return torch.where(norms > radius, vectors * (radius * _INSIDE / norms), vectors)


@dataclass(frozen=True, slots=True)
class _Pair:
    """The same requests with both answers."""

    both: Batch
    """Complying answers first, then refusals."""
    request: torch.Tensor
    """[requests, longest request]: 1.0 where there is a token of the request."""

    def half(self, refusals: bool) -> Batch:
        rows = len(self.request)
        part = slice(rows, None) if refusals else slice(rows)
        both = self.both
        return Batch(both.ids[part], both.mask[part], both.weights[part], both.positions[part])


class Method(Objective):
    """Settings: layers, eps, inner_steps, inner_lr, toward, away, keep, kept, retain."""

    def __init__(
        self, trainer: ResidentTrainer, model: nn.Module, job: TrainingJob, rows: list[Encoded]
    ) -> None:
        super().__init__(trainer, model, job, rows)
        if self.settings["retain"] == "model" and not hasattr(model, "disable_adapter"):
            text = "what the model was must be an adapter's base, but weights are trained"
            raise ThreatspecError("TS-TRIAL-ERROR", text)
        self.refusals = self.encoded([row.refused for row in job.rows])
        layers = tuple(int(layer) for layer in self.settings["layers"])
        norms = mean_norms(model, rows, layers, self.subject.end)
        self.radius = {layer: float(self.settings["eps"]) * norm for layer, norm in norms.items()}
        self.inner = int(self.settings["inner_steps"]) if self.settings["eps"] > 0 else 0
        self.size = sum(p.numel() for p in model.parameters() if p.requires_grad)
        self._drawn_parts: tuple[int, _Pair, Batch] | None = None

    def cost(self, step: int, chosen: Sequence[int]) -> Spend:
        """Inner steps have no gradients of weights; the outer one is training."""
        pair, kept = self._parts(step, chosen)
        spend = self._spend(pair.both, self.size) + self._spend(kept, self.size)
        inner = self._spend(pair.both, 0)
        flops = spend.flops + self.inner * inner.flops
        if self.settings["retain"] == "model":
            flops += forward_flops(self.subject.card, kept.tokens, kept.length)
        return Spend(tokens=spend.tokens + self.inner * inner.tokens, flops=flops)

    def backward(self, step: int, chosen: Sequence[int]) -> float:
        """The outer loss under the inner adversary's vectors."""
        pair, kept = self._parts(step, chosen)
        vectors = self.attack(pair)
        logits = self._perturbed(pair, vectors)
        rows = len(pair.request)
        refused = toward(logits[rows:], pair.half(True))
        complied = away(logits[:rows], pair.half(False))
        loss = self.settings["toward"] * refused + self.settings["away"] * complied
        torch.autograd.backward(loss)
        stay = self.settings["keep"] * self._retained(kept)
        torch.autograd.backward(stay)
        self.note("refusal", refused.item())
        self.note("complying", complied.item())
        return float(loss.item() + stay.item())

    def attack(self, pair: _Pair) -> Vectors:
        """Vectors found from nothing by steps along the normalised gradient, within their balls."""
        width = self.subject.card.hidden
        shape = (*pair.request.shape, width)
        vectors = {layer: pair.request.new_zeros(shape) for layer in self.radius}
        for number in range(self.inner):
            leaves = {layer: vector.requires_grad_() for layer, vector in vectors.items()}
            loss = self._adversary(pair, leaves)
            slopes = torch.autograd.grad(loss, list(leaves.values()))
            if number == 0:
                self.note("adversary_before", loss.item())
            vectors = {
                layer: self._stepped(layer, vector.detach(), slope)
                for (layer, vector), slope in zip(leaves.items(), slopes, strict=True)
            }
        if self.inner:
            with torch.no_grad():
                self.note("adversary_after", self._adversary(pair, vectors).item())
        return vectors

    def _stepped(self, layer: int, vector: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
        """Downhill by a share of the radius, where there is a slope."""
        length = float(self.settings["inner_lr"]) * self.radius[layer]
        uphill = slope / slope.norm(dim=-1, keepdim=True).clamp_min(1e-20)
        return into_ball(vector - length * uphill, self.radius[layer])

    def _adversary(self, pair: _Pair, vectors: Vectors) -> torch.Tensor:
        logits = self._perturbed(pair, vectors)
        rows = len(pair.request)
        complied = toward(logits[:rows], pair.half(False))
        return complied + away(logits[rows:], pair.half(True))

    def _perturbed(self, pair: _Pair, vectors: Vectors) -> torch.Tensor:
        """Logits of both answers with vectors added to the tokens of the requests."""
        changes: dict[int, Change] = {}
        for layer, vector in vectors.items():
            changes[layer] = _adding(vector * pair.request.unsqueeze(-1))
        with watched(self.model, changes):
            return logits_of(self.model, pair.both)

    def _retained(self, kept: Batch) -> torch.Tensor:
        """Loss of other answers, or how far they are from what the model was, nats per token."""
        logits = logits_of(self.model, kept)
        if self.settings["retain"] == "answers":
            return toward(logits, kept)
        model: Any = self.model
        with torch.no_grad(), model.disable_adapter():
            before = logits_of(model, kept)[:, :-1].float().log_softmax(-1)
        now = logits[:, :-1].float().log_softmax(-1)
        return _mean((before.exp() * (before - now)).sum(-1), kept)

    def _parts(self, step: int, chosen: Sequence[int]) -> tuple[_Pair, Batch]:
        """The rows of a step, the same ones however often it is asked about."""
        if self._drawn_parts is None or self._drawn_parts[0] != step:
            complying = [self.rows[i] for i in chosen]
            both = self.batch([*complying, *(self.refusals[i] for i in chosen)])
            kept = self.batch(self.next_beside(int(self.settings["kept"])))
            self._drawn_parts = (step, _Pair(both, _request(complying, both)), kept)
        return self._drawn_parts[1:]

    def _spend(self, batch: Batch, trained: int) -> Spend:
        card, tokens, length = self.subject.card, batch.tokens, batch.length
        return Spend(tokens=tokens, flops=training_flops(card, tokens, length, trained))


def _log_p(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    found = logits[:, :-1].float().log_softmax(-1)
    return found.gather(-1, batch.ids[:, 1:].unsqueeze(-1)).squeeze(-1)


def _mean(losses: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Over the tokens that carry loss, all alike."""
    carries = batch.weights[:, 1:] > 0
    return losses[carries].mean()


def _request(rows: Sequence[Encoded], both: Batch) -> torch.Tensor:
    starts = torch.tensor([row.start for row in rows], device=both.ids.device)
    places = torch.arange(int(starts.max()), device=both.ids.device)
    return (places < starts.unsqueeze(1)).float()


def _adding(vectors: torch.Tensor) -> Change:
    """Adds vectors [requests, tokens, hidden] to the same requests, once with each answer."""

    def add(hidden: torch.Tensor) -> torch.Tensor:
        spread = pad(vectors, (0, 0, 0, hidden.shape[1] - vectors.shape[1]))
        return hidden + torch.cat([spread, spread]).to(hidden)

    return add
