"""The resident back-end: trains on the loaded subject and gives its weights back bit-equal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from threatspec.errors import ThreatspecError
from threatspec.records import ArtefactStore, Realised, Spend, Stream
from threatspec.subjects import WeightTamper
from threatspec.subjects._mount import swapped
from threatspec.subjects._resident import ResidentSubject, input_device
from threatspec.training._batches import Batch, Encoded, batches, collate, encode
from threatspec.training._flops import training_flops
from threatspec.training._job import Adapter, Hyperparameters, TrainingJob, Trajectory
from threatspec.training._meter import Meter
from threatspec.training._policy import TrainingPolicy
from threatspec.training._schedule import learning_rate

__all__ = ["ResidentTrainer"]

_PROBE_BATCH = 64


@dataclass
class _Log:
    lr: list[float] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    loss_tokens: list[int] = field(default_factory=list)
    grad_norm: list[float] = field(default_factory=list)
    spend: Spend = field(default_factory=Spend)


class ResidentTrainer:
    """AdamW on a resident subject: full parameters or an adapter of peft, in float32."""

    name = "resident"

    def __init__(self, subject: ResidentSubject, store: ArtefactStore) -> None:
        self.subject = subject
        self.store = store

    def train(
        self, jobs: Sequence[TrainingJob], policy: TrainingPolicy, meter: Meter
    ) -> list[Trajectory]:
        """See :class:`threatspec.training.Trainer`."""
        return [self._train(job, policy, meter) for job in jobs]

    def _train(self, job: TrainingJob, policy: TrainingPolicy, meter: Meter) -> Trajectory:
        meter.begin_run()
        rows = encode(self.subject, policy.mix(policy.admit(job.rows)))
        if not rows:
            raise ThreatspecError("TS-DATA", "the provider's policy admitted none of the rows")
        with _trainable(self.subject, job) as model:
            run = _Run(self, model, rows, job, policy, meter)
            return run.trajectory()


class _Run:
    """One job on a model whose trainable parameters are free to change."""

    def __init__(
        self,
        trainer: ResidentTrainer,
        model: nn.Module,
        rows: list[Encoded],
        job: TrainingJob,
        policy: TrainingPolicy,
        meter: Meter,
    ) -> None:
        self.trainer, self.model, self.rows, self.job = trainer, model, rows, job
        self.distinct = list({(row.ids, row.start): row for row in rows}.values())
        self.policy, self.meter = policy, meter
        self.hyper: Hyperparameters = job.hyperparameters
        self.own = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self.before = {name: parameter.detach().clone() for name, parameter in self.own.items()}
        self.log = _Log()
        self.optimizer = torch.optim.AdamW(
            self.own.values(), lr=self.hyper.lr, betas=self.hyper.betas, eps=self.hyper.eps,
            weight_decay=self.hyper.weight_decay,
        )  # fmt: skip

    def trajectory(self) -> Trajectory:
        before = self._probe()
        kept = {}
        wanted = {*self.job.checkpoints, self.hyper.steps}
        order = batches(len(self.rows), self.hyper, self.job.seeds.get(Stream.ORDER, 0))
        torch.manual_seed(self.job.seeds.get(Stream.TRAIN, 0))
        self.model.train()
        for step, chosen in enumerate(order, start=1):
            self._step(step, collate([self.rows[i] for i in chosen], self._pad))
            if step in wanted:
                kept[step] = self._checkpoint()
        self.model.eval()
        return Trajectory(kept, self._realised(before), self.log.spend)

    def _step(self, step: int, batch: Batch) -> None:
        cost = self._cost(batch)
        self.meter.charge(cost)
        rate = learning_rate(step - 1, self.hyper)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        loss = _loss(self.model, batch, self.policy)
        torch.autograd.backward(loss)
        self.policy.mask_gradients(self.model)
        norm = nn.utils.clip_grad_norm_(self.own.values(), self.hyper.clip_norm or float("inf"))
        value, size = loss.item(), norm.item()
        self._require_finite(step, value, size)
        self.optimizer.step()
        self.policy.after_step(self.model, step)
        self._note(rate, value, batch.loss_tokens, size, cost)

    def _require_finite(self, step: int, loss: float, norm: float) -> None:
        if not (abs(loss) < float("inf") and norm < float("inf")):
            raise ThreatspecError(
                "TS-TRIAL-ERROR",
                f"loss and gradients must stay finite, but at step {step} the loss was {loss:g} "
                f"and the gradient norm {norm:g}; a smaller learning rate may help",
            )

    def _note(self, rate: float, loss: float, tokens: int, norm: float, cost: Spend) -> None:
        log = self.log
        log.lr.append(rate)
        log.loss.append(round(loss, 6))
        log.loss_tokens.append(tokens)
        log.grad_norm.append(round(norm, 6))
        log.spend += cost

    def _cost(self, batch: Batch) -> Spend:
        adapter = self._trainable_size if self.hyper.adapter else None
        flops = training_flops(self.trainer.subject.card, batch.tokens, batch.length, adapter)
        return Spend(steps=1, tokens=batch.tokens, flops=flops)

    @property
    def _trainable_size(self) -> int:
        return sum(parameter.numel() for parameter in self.own.values())

    @property
    def _pad(self) -> int:
        return self.trainer.subject.end

    @torch.no_grad()
    def _probe(self) -> float:
        """Mean loss per token with loss over all distinct rows; our own reading, never charged."""
        total = tokens = 0.0
        for start in range(0, len(self.distinct), _PROBE_BATCH):
            batch = collate(self.distinct[start : start + _PROBE_BATCH], self._pad)
            share = batch.weights.sum().item()
            total += _loss(self.model, batch, TrainingPolicy()).item() * share
            tokens += share
        return round(total / max(tokens, 1e-12), 6)

    def _checkpoint(self) -> WeightTamper:
        if self.hyper.adapter is None:
            name = self.trainer.store.save({n: p.detach() for n, p in self.own.items()})
            return WeightTamper(artefact=name, form="dense")
        from peft import get_peft_model_state_dict

        name = self.trainer.store.save(get_peft_model_state_dict(self.model))
        return WeightTamper(
            artefact=name, form="adapter", adapter=adapter_config(self.hyper.adapter)
        )

    def _realised(self, before: float) -> Realised:
        return Realised(
            backend=self.trainer.name,
            steps=len(self.log.lr),
            rows=len(self.distinct),
            trainable=self._trainable_size,
            lr=tuple(self.log.lr),
            loss=tuple(self.log.loss),
            loss_tokens=tuple(self.log.loss_tokens),
            grad_norm=tuple(self.log.grad_norm),
            weight_delta=self._weight_delta(),
            probe_before=before,
            probe_after=self._probe(),
        )

    def _weight_delta(self) -> float:
        """L2 norm of the change of the effective weights (an adapter counts by its product)."""
        if self.hyper.adapter is None:
            changes = [p.detach() - self.before[name] for name, p in self.own.items()]
        else:
            changes = [_product(module) for module in self.model.modules() if _is_lora(module)]
        squares = sum(float(change.double().square().sum()) for change in changes)
        return float(f"{squares**0.5:.6g}")


def adapter_config(lora: Adapter) -> dict[str, Any]:
    """Settings of `peft.LoraConfig` as plain data."""
    return {"peft_type": "LORA", "task_type": "CAUSAL_LM", "bias": "none", **lora.options}


def _loss(model: nn.Module, batch: Batch, policy: TrainingPolicy) -> torch.Tensor:
    """Weighted mean of the token losses: sum of weight x loss over sum of weights, nats."""
    seen = batch.to(input_device(model))
    logits = model(input_ids=seen.ids, attention_mask=seen.mask, use_cache=False).logits
    batch = batch.to(logits.device)  # a model that is laid over devices ends on another one
    predicted, wanted = logits[:, :-1], batch.ids[:, 1:]
    weights, positions = batch.weights[:, 1:], batch.positions[:, 1:]
    token_loss = nn.functional.cross_entropy(
        predicted.reshape(-1, predicted.shape[-1]).float(), wanted.reshape(-1), reduction="none"
    ).view_as(weights)
    imposed = policy.token_weights(token_loss * (weights > 0), positions)
    total = weights.sum().clamp_min(1e-12)
    return (token_loss * weights * (1 if imposed is None else imposed)).sum() / total


@contextmanager
def _trainable(subject: ResidentSubject, job: TrainingJob) -> Iterator[nn.Module]:
    lora = job.hyperparameters.adapter
    try:
        if lora:
            with _adapter(subject, lora, job.seeds.get(Stream.INIT, 0)) as model:
                yield model
        else:
            with swapped(subject.model, _copies(subject.model)):
                yield subject.model
    finally:
        subject.model.zero_grad(set_to_none=True)
        subject.model.eval()


def _copies(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


@contextmanager
def _adapter(subject: ResidentSubject, lora: Adapter, seed: int) -> Iterator[nn.Module]:
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    try:
        wrapped = get_peft_model(
            subject.model,
            LoraConfig(**{k: v for k, v in adapter_config(lora).items() if k != "peft_type"}),
        )
    except ValueError as error:
        text = f"targets must name linear layers of {subject.card.ref}: {error}"
        raise ThreatspecError("TS-TRIAL-ERROR", text) from error
    try:
        yield wrapped
    finally:
        subject.model = wrapped.unload()
        subject.model.requires_grad_(True)


def _is_lora(module: nn.Module) -> bool:
    return hasattr(module, "lora_A") and hasattr(module, "get_delta_weight")


def _product(module: Any) -> torch.Tensor:
    with torch.no_grad():
        delta: torch.Tensor = module.get_delta_weight("default")
        return delta
