"""One training run of the resident back-end, step by step, with all that it realises."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import nn

from threatspec.errors import ThreatspecError
from threatspec.records import Realised, Spend, Stream
from threatspec.subjects import WeightTamper
from threatspec.training._accumulate import Accumulator
from threatspec.training._batches import Batch, Encoded, batches
from threatspec.training._clipping import clip_gradients
from threatspec.training._frozen import Frozen
from threatspec.training._job import Hyperparameters, Trajectory
from threatspec.training._loss import mean_loss
from threatspec.training._meter import Meter
from threatspec.training._methods import Method
from threatspec.training._optimizers import evaluated, make_optimizer
from threatspec.training._packing import require_apart
from threatspec.training._policy import TrainingPolicy
from threatspec.training._schedule import learning_rate
from threatspec.training.objectives import objective_of

if TYPE_CHECKING:
    from threatspec.training._resident import ResidentTrainer

__all__ = ["Run"]


@dataclass
class _Log:
    lr: list[float] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    loss_tokens: list[int] = field(default_factory=list)
    grad_norm: list[float] = field(default_factory=list)
    clipped: int = 0
    spend: Spend = field(default_factory=Spend)


class Run:
    """One job on a model of which something is free to change."""

    def __init__(
        self,
        trainer: ResidentTrainer,
        method: Method,
        model: nn.Module,
        rows: Sequence[Encoded],
        policy: TrainingPolicy,
        meter: Meter,
    ) -> None:
        self.trainer, self.method, self.model, self.rows = trainer, method, model, rows
        self.policy, self.meter, self.job = policy, meter, method.job
        self.hyper: Hyperparameters = self.job.hyperparameters
        self.card, pad = trainer.subject.card, trainer.subject.end
        if self.hyper.packing:
            require_apart(model, rows, pad, self.hyper)
        self.frozen = Frozen(self.job.mask, method, trainer.store)
        self.own = [p for p in method.named.values() if p.requires_grad]
        self.optimizer = make_optimizer(self.own, self.hyper)
        self.accumulator = Accumulator(model, policy, self.hyper, pad, self.card.context)
        self.objective = (
            objective_of(trainer, model, self.job, list(rows)) if self.job.objective else None
        )
        self.distinct = list({(row.ids, row.start): row for row in rows}.values())
        self.log = _Log()

    def trajectory(self) -> Trajectory:
        """Train, and say what happened."""
        self.method.begin(self.rows)
        before, kept = self._probe(), {}
        wanted = {*self.job.checkpoints, self.hyper.steps}
        order = batches(len(self.rows), self.hyper, self.job.seeds.get(Stream.ORDER, 0))
        torch.manual_seed(self.job.seeds.get(Stream.TRAIN, 0))
        self.model.train()
        for step, chosen in enumerate(order, start=1):
            self._step(step, chosen)
            if step in wanted:
                kept[step] = self._checkpoint()
        self.model.eval()
        with self._as_kept():
            return Trajectory(kept, self._realised(before), self.log.spend)

    def _step(self, step: int, chosen: Sequence[int]) -> None:
        rows = [self.rows[i] for i in chosen]
        parts = self.accumulator.parts(rows)
        cost = self._cost(step, chosen, parts)
        self.meter.charge(cost)
        rate = learning_rate(step - 1, self.hyper, len(self.rows))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._backward(step, chosen, rows)
        self.policy.mask_gradients(self.model)
        self.frozen.mask_gradients()
        norm, clipped = clip_gradients(self.own, self.hyper)
        _require_finite(step, loss, norm)
        self.optimizer.step()
        self.method.confine()
        self.policy.after_step(self.model, step)
        self.frozen.hold()
        self._note(rate, loss, sum(part.loss_tokens for part in parts), norm, clipped, cost)

    def _backward(self, step: int, chosen: Sequence[int], rows: Sequence[Encoded]) -> float:
        if self.objective is not None:
            return self.objective.backward(step, chosen)
        return self.accumulator.backward(rows)

    def _cost(self, step: int, chosen: Sequence[int], parts: Sequence[Batch]) -> Spend:
        if self.objective is not None:
            return self.objective.cost(step, chosen) + Spend(steps=1)
        return sum((self.method.spend(part) for part in parts), Spend(steps=1))

    def _note(
        self, rate: float, loss: float, tokens: int, norm: float, clipped: bool, cost: Spend
    ) -> None:
        log = self.log
        log.lr.append(rate)
        log.loss.append(round(loss, 6))
        log.loss_tokens.append(tokens)
        log.grad_norm.append(round(norm, 6))
        log.clipped += clipped
        log.spend += cost

    def _probe(self) -> float:
        """Mean loss over the distinct rows; our own reading, never charged."""
        return mean_loss(self.model, self.distinct, self.trainer.subject.end)

    @contextmanager
    def _as_kept(self) -> Iterator[None]:
        """What is trained as it is kept; training goes on from where it was."""
        self.optimizer.zero_grad(set_to_none=True)  # a copy of the weights may take their place
        with evaluated(self.optimizer), self.frozen.as_kept():
            self.method.confine()
            yield

    def _checkpoint(self) -> WeightTamper:
        with self._as_kept():
            return self.method.checkpoint(self.trainer.store)

    def _realised(self, before: float) -> Realised:
        log = self.log
        return Realised(
            backend=self.trainer.name,
            steps=len(log.lr),
            rows=len(self.distinct),
            trainable=self.frozen.movable,
            lr=tuple(log.lr),
            loss=tuple(log.loss),
            loss_tokens=tuple(log.loss_tokens),
            grad_norm=tuple(log.grad_norm),
            weight_delta=self.method.weight_delta(),
            probe_before=before,
            probe_after=self._probe(),
            optimizer=self.hyper.optimizer,
            micro_batch=self.accumulator.micro,
            halved=self.accumulator.halved,
            clipped=log.clipped,
            frozen=self.frozen.size,
            details={name: tuple(noted) for name, noted in self._details().items()},
        )

    def _details(self) -> dict[str, list[float]]:
        return self.objective.details if self.objective is not None else {}


def _require_finite(step: int, loss: float, norm: float) -> None:
    if not (abs(loss) < float("inf") and norm < float("inf")):
        raise ThreatspecError(
            "TS-DIVERGED",
            f"loss and gradients must stay finite, but at step {step} the loss was {loss:g} "
            f"and the gradient norm {norm:g}; a smaller learning rate may help",
        )
