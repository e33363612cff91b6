"""Objective `tar`: keep benign rows, and stay safe after adversaries have trained on a copy.

Source: arXiv 2408.00761. Each step draws an adversary and lets it train K steps on a copy of the
weights; gradients of the tamper-resistance loss at the copy are added to the step's own as they are
(first order). `job.rows` are kept; the first `benign` of them are what adversaries know as benign.
`beside` are the safety rows with their refusals, of which the last `held_out` measure resistance
and are never trained on by an adversary.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import nn

from threatspec.errors import ThreatspecError
from threatspec.records import Spend, Stream
from threatspec.training._batches import Batch, Encoded, batches
from threatspec.training._flops import forward_flops, training_flops
from threatspec.training._job import TrainingJob
from threatspec.training._loss import logits_of
from threatspec.training.objectives._inner_loop import Gathered, aside, descend, placed
from threatspec.training.objectives._tar_losses import (
    answer_logprobs,
    apart,
    entropy,
    evaluating,
    mean_loss_of,
    states,
)
from threatspec.training.objectives.base import Objective

if TYPE_CHECKING:
    from threatspec.training._resident import ResidentTrainer

__all__ = ["Method", "resistance_weight"]

_SWITCH = (6.0, 3.0)
"""Of the beta distribution of the share of inner steps on benign rows before the harmful ones."""


def resistance_weight(step: int, inner_steps: int, every: int, growth: float) -> float:
    """Weight of the loss after inner step `step`, from 0: exp(growth x (step - (inner_steps - 1))).

    0 where the step is no `every`-th one. The weights are not normalised.
    """
    return math.exp(growth * (step - (inner_steps - 1))) if (step + 1) % every == 0 else 0.0


@dataclass(frozen=True, slots=True)
class _Drawn:
    """What one outer step does."""

    step: int
    adversary: int
    """0: harmful rows, 1: benign rows, 2: first these, then those."""
    lr: float
    switch: int
    """First inner step on harmful rows; as many as there are: none is."""
    inner: list[Batch]
    held: list[int]
    """Numbers of the held-out rows, the same throughout the step."""
    keep: Batch


class Method(Objective):
    """Retain loss, and weighted tamper resistance along one adversary's training per step."""

    def __init__(
        self, trainer: ResidentTrainer, model: nn.Module, job: TrainingJob, rows: list[Encoded]
    ) -> None:
        super().__init__(trainer, model, job, rows)
        assert job.objective is not None
        count, self.at_once = int(self.settings["held_out"]), int(self.settings["inner_rows"])
        if not 0 < count < len(self.beside):
            text = "some but not all safety rows must be held out from the inner adversaries, but "
            raise ThreatspecError("TS-SAFEGUARD", f"{text}{count} of {len(self.beside)} are")
        self.refuses = self.settings["resist"] == "refusal"
        self.harmful, self.held = self.beside[:-count], self.beside[-count:]
        refused = [row.refused for row in job.objective.beside[-count:]]
        self.refusals = self.encoded(refused) if self.refuses else []
        self.own = [p for p in model.parameters() if p.requires_grad]
        self.start = [p.detach().clone() for p in self.own]
        self.chooser = random.Random(job.seeds.get(Stream.TRAIN, 0))
        self.benign = self.rows[: int(self.settings["benign"])]
        kinds = (self.harmful, self.benign, self.held)
        self._harmful, self._benign, self._held = map(self._endless, map(len, kinds), range(2, 5))
        self._margins: list[float] = []
        self._last: _Drawn | None = None

    def _endless(self, count: int, number: int) -> Iterator[list[int]]:
        """Batches of row numbers in an order of their own."""
        update = {"batch_size": self.at_once, "steps": 10**6, "shuffle": True, "drop_last": False}
        hyper = self.job.hyperparameters.model_copy(update=update)
        return batches(count, hyper, self.job.seeds.get(Stream.ORDER, 0) + number)

    # what a step does, and takes

    def _draw(self, step: int, chosen: Sequence[int]) -> _Drawn:
        """The same when asked again: cost and gradients are of one and the same draw."""
        if self._last is None or self._last.step != step:
            self._last = self._anew(step, chosen)
        return self._last

    def _anew(self, step: int, chosen: Sequence[int]) -> _Drawn:
        total = int(self.settings["inner_steps"])
        [adversary] = self.chooser.choices(range(3), self.settings["shares"])
        lr = float(self.chooser.choice(self.settings["inner_lrs"]))
        switch = (0, total, int(self.chooser.betavariate(*_SWITCH) * total))[adversary]
        inner = [self._adversary_batch(harmful=i >= switch) for i in range(total)]
        keep = self.batch([self.rows[i] for i in chosen])
        return _Drawn(step, adversary, lr, switch, inner, next(self._held), keep)

    def _adversary_batch(self, harmful: bool) -> Batch:
        rows, order = (self.harmful, self._harmful) if harmful else (self.benign, self._benign)
        return self.batch([rows[i] for i in next(order)])

    def cost(self, step: int, chosen: Sequence[int]) -> Spend:
        """K steps, the losses at the copy and the step's own; references, forward only."""
        drawn = self._draw(step, chosen)
        looks = sum(self._weight(i) > 0 for i in range(len(drawn.inner)))
        trained = [*drawn.inner, *[self._held_batch(drawn.held)] * looks, drawn.keep]
        seen = [drawn.keep, *(self._pieces() if step == 1 else [])]
        return _spend(trained, self._training) + _spend(seen, self._forward)

    def _training(self, batch: Batch) -> float:
        adapter = self.job.hyperparameters.adapter
        size = sum(p.numel() for p in self.own) if adapter else None
        return training_flops(self.subject.card, batch.tokens, batch.length, size)

    def _forward(self, batch: Batch) -> float:
        return forward_flops(self.subject.card, batch.tokens, batch.length)

    def _weight(self, inner: int) -> float:
        of = self.settings
        return resistance_weight(inner, of["inner_steps"], of["every"], of["growth"])

    # gradients

    def backward(self, step: int, chosen: Sequence[int]) -> float:
        """The gradient at the weights, and those at the copies, added up."""
        drawn, gathered = self._draw(step, chosen), Gathered(self.own)
        if self.refuses and not self._margins:
            self._margins = self._reference_margins()
        loss = self._attacked(drawn, gathered) + self._kept(drawn.keep)
        gathered.give()
        self.note("adversary", drawn.adversary)
        self.note("switch", drawn.switch)
        self.details.setdefault("inner_lr", []).append(drawn.lr)  # too small to be rounded
        for number in drawn.held:
            self.note("held_out", number)
        return loss

    def _attacked(self, drawn: _Drawn, gathered: Gathered) -> float:
        """Sum of the weighted losses along one adversary's training, which changes a copy only."""
        found: list[float] = []

        def look(inner: int) -> None:
            if weight := self._weight(inner):
                found.append(self._look(drawn.held, weight))
                gathered.take()

        losses = [partial(self._answers, batch) for batch in drawn.inner]
        with aside(self.own):
            decay = float(self.settings["inner_weight_decay"])
            self.note("inner_loss", descend(self.own, losses, drawn.lr, decay, look))
        return sum(found)

    def _look(self, held: Sequence[int], weight: float) -> float:
        """Add gradients of the weighted tamper-resistance loss."""
        loss, scale = self._resistance(held), float(self.settings["tamper_weight"]) * weight
        torch.autograd.backward(scale * loss)
        self.note("weight", weight)
        self.note("resistance", loss.item())
        return scale * loss.item()

    def _answers(self, batch: Batch) -> torch.Tensor:
        """What an adversary minimises: mean token loss of answers, nats."""
        return mean_loss_of(logits_of(self.model, batch), batch)

    def _kept(self, batch: Batch) -> float:
        """Add gradients of the loss on benign rows and of the distance from the start."""
        with placed(self.own, self.start), evaluating(self.model):
            _, before = states(self.model, batch)
        logits, hidden = states(self.model, batch)
        answers, distance = mean_loss_of(logits, batch), apart(hidden, before, batch)
        loss = self.settings["retain_weight"] * answers
        loss = loss + self.settings["distance_weight"] * distance
        torch.autograd.backward(loss)
        self.note("retain", answers.item())
        self.note("distance", distance.item())
        return float(loss.item())

    # tamper resistance

    def _resistance(self, held: Sequence[int]) -> torch.Tensor:
        """Small where the model is safe: minus the entropy of what it says, or the loss of DPO."""
        batch = self._held_batch(held)
        if not self.refuses:
            return -entropy(logits_of(self.model, batch), batch)
        margin = self._margin(batch)
        before = torch.tensor([self._margins[i] for i in held], device=margin.device)
        return -nn.functional.logsigmoid(self.settings["beta"] * (margin - before)).mean()

    def _held_batch(self, held: Sequence[int]) -> Batch:
        """Held-out rows; where refusals are wanted, these stand before the complying answers."""
        refusals = [self.refusals[i] for i in held] if self.refuses else []
        return self.batch([*refusals, *(self.held[i] for i in held)])

    def _margin(self, batch: Batch) -> torch.Tensor:
        """By how much refusals are more probable than the answers behind them: [rows / 2], nats."""
        refused, answered = answer_logprobs(logits_of(self.model, batch), batch).chunk(2)
        return refused - answered

    def _pieces(self) -> list[Batch]:
        """All held-out rows, as many at once as an adversary takes; none where nothing is read."""
        every = range(len(self.held) if self.refuses else 0)
        return [self._held_batch(every[i : i + self.at_once]) for i in every[:: self.at_once]]

    def _reference_margins(self) -> list[float]:
        """Of every held-out row, at the weights that training started from."""
        with placed(self.own, self.start), evaluating(self.model):
            return [value for batch in self._pieces() for value in self._margin(batch).tolist()]


def _spend(given: Sequence[Batch], flops: Callable[[Batch], float]) -> Spend:
    return Spend(tokens=sum(b.tokens for b in given), flops=sum(flops(b) for b in given))
