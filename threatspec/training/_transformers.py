"""The back-end `transformers`: the job of a resident subject through `transformers.Trainer`.

Independent of the resident loop are the order of backward pass, clipping and update, gradient
accumulation, the schedules, the parameter groups (norms and biases do not decay there) and the
loss, which the model computes from its labels. Shared are the rows, tokenised and masked by
`threatspec.training._batches`, their order, and the readings before and after.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback
from transformers.utils import logging

from threatspec.errors import ThreatspecError
from threatspec.records import ArtefactStore, Realised, Spend, Stream
from threatspec.subjects import WeightTamper
from threatspec.subjects._resident import ResidentSubject
from threatspec.training._batches import Batch, Encoded, batches, collate, encode
from threatspec.training._job import TrainingJob, Trajectory
from threatspec.training._loss import mean_loss
from threatspec.training._meter import Meter
from threatspec.training._methods import Method, method_of
from threatspec.training._policy import TrainingPolicy
from threatspec.training._transformers_settings import arguments, require_supported

__all__ = ["TransformersTrainer"]

_NO_LOSS = -100
"""Label of tokens without loss in `transformers`."""


class TransformersTrainer:
    """`transformers.Trainer` on a resident subject: full parameters or an adapter of peft."""

    name = "transformers"

    def __init__(self, subject: ResidentSubject, store: ArtefactStore) -> None:
        self.subject = subject
        self.store = store

    def train(
        self, jobs: Sequence[TrainingJob], policy: TrainingPolicy, meter: Meter
    ) -> list[Trajectory]:
        """See :class:`threatspec.training.Trainer`.

        Raises ThreatspecError TS-TRIAL-ERROR for a job that `transformers` has no means for.
        """
        return [self._train(job, policy, meter) for job in jobs]

    def _train(self, job: TrainingJob, policy: TrainingPolicy, meter: Meter) -> Trajectory:
        meter.begin_run()
        rows = policy.given(job.rows)
        require_supported(job, rows, policy)
        encoded = encode(self.subject, rows, job.hyperparameters)
        encoded = list(policy.begin(self.subject, encoded, self.store))
        method = method_of(self.subject, job)
        with method.trainable() as model, _undisturbed(model):
            method.begin(encoded)
            return _Run(self, model, method, encoded, job, policy, meter).trajectory()


class _Run(TrainerCallback):  # type: ignore[misc]
    """One job: feeds the trainer, charges each step before it, and notes what goes through."""

    def __init__(
        self,
        trainer: TransformersTrainer,
        model: nn.Module,
        method: Method,
        rows: list[Encoded],
        job: TrainingJob,
        policy: TrainingPolicy,
        meter: Meter,
    ) -> None:
        self.subject, self.store = trainer.subject, trainer.store
        self.model, self.method = model, method
        self.distinct = list({(row.ids, row.start): row for row in rows}.values())
        self.job, self.policy, self.meter = job, policy, meter
        self.hyper = job.hyperparameters
        self.rows, self.plan = rows, self._planned(len(rows))
        self.lr: list[float] = []
        self.loss: list[float] = []
        self.loss_tokens: list[int] = []
        self.grad_norm: list[float] = []
        self.clips = 0
        self.spend = Spend()
        self.kept: dict[int, WeightTamper] = {}

    def trajectory(self) -> Trajectory:
        """Train, and say what happened."""
        before = self._probe()
        with tempfile.TemporaryDirectory(prefix="threatspec-") as folder:
            trainer = _Fed(self, self._arguments(folder))
            trainer.train()
        self.model.eval()
        return Trajectory(self.kept, self._realised(before), self.spend)

    def _probe(self) -> float:
        """Mean loss over the distinct rows; our own reading, never charged."""
        return mean_loss(self.model, self.distinct, self.subject.end)

    def _planned(self, count: int) -> list[list[list[int]]]:
        """Row numbers of the micro-batches of each optimiser step; every step has as many."""
        micro = self.hyper.micro_batch or count
        order = batches(count, self.hyper, self.job.seeds.get(Stream.ORDER, 0))
        return [
            [chosen[start : start + micro] for start in range(0, len(chosen), micro)]
            for chosen in order
        ]

    def _batch(self, chosen: Sequence[int]) -> Batch:
        return collate([self.rows[i] for i in chosen], self.subject.end)

    def _arguments(self, folder: str) -> TrainingArguments:
        seed = self.job.seeds.get(Stream.TRAIN, 0) % 2**32
        settings = arguments(self.hyper, len(self.plan[0]))
        cpu = self.subject.device.type == "cpu"
        made = TrainingArguments(output_dir=folder, seed=seed, use_cpu=cpu, **settings)
        if made.n_gpu > 1:
            made._n_gpu = 1  # one subject, one replica: several would change the batch
        return made

    def loader(self) -> DataLoader[Any]:
        """The planned micro-batches, one after the other."""
        flat = [chosen for step in self.plan for chosen in step]
        return DataLoader(
            flat,  # type: ignore[arg-type]
            batch_size=None,
            collate_fn=lambda chosen: _labelled(self._batch(chosen)),
            generator=torch.Generator(),
        )

    # what the trainer tells while it works

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Listen to the optimiser itself, whatever wraps it."""
        optimizer = getattr(kwargs["optimizer"], "optimizer", kwargs["optimizer"])
        self.movable = sum(p.numel() for g in optimizer.param_groups for p in g["params"])
        if not self.movable:
            text = f"{self.subject.card.ref} must have parameters to train, but the optimizer got"
            raise ThreatspecError("TS-TRIAL-ERROR", f"{text} none")
        optimizer.register_step_pre_hook(self._before_update)

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Charge the step before anything of it is computed."""
        chosen = self.plan[state.global_step]
        cost = sum((self.method.spend(self._batch(rows)) for rows in chosen), Spend(steps=1))
        self.meter.charge(cost)
        self.spend += cost
        self.loss.append(0.0)
        self.loss_tokens.append(0)

    def saw(self, labels: torch.Tensor, loss: float) -> None:
        """One micro-batch went through the model."""
        self.loss[-1] += loss
        self.loss_tokens[-1] += int((labels[:, 1:] != _NO_LOSS).sum())

    def clipped(self, norm: float, limit: float) -> None:
        """Gradients of a step were clipped to `limit`; `norm` is theirs before."""
        self.grad_norm.append(round(norm, 6))
        self.clips += norm > limit

    def _before_update(self, optimizer: Any, *_: Any) -> None:
        step, loss, norm = len(self.loss), self.loss[-1], self.grad_norm[-1]
        if not (abs(loss) < float("inf") and norm < float("inf")):
            raise ThreatspecError(
                "TS-DIVERGED",
                f"loss and gradients must stay finite, but at step {step} the loss was {loss:g} "
                f"and the gradient norm {norm:g}; a smaller learning rate may help",
            )
        self.lr.append(optimizer.param_groups[0]["lr"])

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Policies may edit weights; checkpoints are taken after that."""
        self.policy.after_step(self.model, state.global_step)
        if state.global_step in {*self.job.checkpoints, self.hyper.steps}:
            self.kept[state.global_step] = self.method.checkpoint(self.store)

    def _realised(self, before: float) -> Realised:
        return Realised(
            backend=TransformersTrainer.name,
            steps=len(self.lr),
            rows=len(self.distinct),
            trainable=self.movable,
            lr=tuple(self.lr),
            loss=tuple(round(loss, 6) for loss in self.loss),
            loss_tokens=tuple(self.loss_tokens),
            grad_norm=tuple(self.grad_norm),
            weight_delta=self.method.weight_delta(),
            probe_before=before,
            probe_after=self._probe(),
            optimizer=self.hyper.optimizer,
            micro_batch=max(len(rows) for step in self.plan for rows in step),
            clipped=self.clips,
        )


class _Fed(Trainer):  # type: ignore[misc]
    """`transformers.Trainer` with batches of ours, which tells a run what it does."""

    def __init__(self, run: _Run, args: TrainingArguments) -> None:
        self._run = run
        super().__init__(model=run.model, args=args, callbacks=[run])
        self.remove_callback(PrinterCallback)
        self._clip = self.accelerator.clip_grad_norm_
        self.accelerator.clip_grad_norm_ = self._clip_and_tell

    def get_train_dataloader(self) -> DataLoader[Any]:
        return self._run.loader()

    def training_step(self, model: nn.Module, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        loss = super().training_step(model, inputs, *args, **kwargs)
        self._run.saw(inputs["labels"], loss.item())
        return loss

    def _clip_and_tell(self, parameters: Any, limit: float, **kwargs: Any) -> Any:
        self._run.policy.mask_gradients(self._run.model)
        norm = self._clip(parameters, limit, **kwargs)
        self._run.clipped(float(norm), limit)
        return norm


def _labelled(batch: Batch) -> dict[str, torch.Tensor]:
    labels = batch.ids.masked_fill(batch.weights == 0, _NO_LOSS)
    return {"input_ids": batch.ids, "attention_mask": batch.mask, "labels": labels}


@contextmanager
def _undisturbed(model: Any) -> Iterator[None]:
    """The trainer seeds everything there is and changes settings of the process and the model."""
    import numpy

    cached, verbosity = model.config.use_cache, logging.get_verbosity()
    states = random.getstate(), numpy.random.get_state()
    try:
        yield
    finally:
        model.config.use_cache = cached
        logging.set_verbosity(verbosity)
        random.setstate(states[0])
        numpy.random.set_state(states[1])
