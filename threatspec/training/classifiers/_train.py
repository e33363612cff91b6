"""Training of a resident classifier, step by step, with all that it realises."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

from threatspec.errors import ThreatspecError
from threatspec.records import ArtefactStore, Realised, Spend, Stream
from threatspec.subjects import Request, WeightTamper
from threatspec.subjects._mount import swapped
from threatspec.training._batches import batches
from threatspec.training._job import Hyperparameters, Trajectory
from threatspec.training._meter import Meter

if TYPE_CHECKING:
    from threatspec.subjects.images._classifier import ClassifierSubject
    from threatspec.training import TrainingRow
    from threatspec.training.classifiers import ClassifierJob

__all__ = ["train_classifier"]

Tensors = dict[str, torch.Tensor]
_AT_ONCE = 256
"""Images of a probe that go through the model at once."""
_PASSES = 3
"""Forward and backward, in forward passes."""


def train_classifier(
    subject: ClassifierSubject, job: ClassifierJob, store: ArtefactStore, meter: Meter
) -> Trajectory:
    """Train from the subject's weights, as they are mounted, or from new ones; the subject is given
    back bit-equal.

    Every batch is full: where an epoch ends the next one fills it. Images are read and prepared
    once. The meter is charged before each step: 3 x images x `SubjectCard.image_flops`.

    Raises BudgetExceeded, ThreatspecError TS-IMAGE, TS-POISON for an answer that is no class,
    TS-TARGETS for a `held` that matches nothing, TS-DIVERGED.
    """
    run = _Run(subject, job, store, meter)
    meter.begin_run()
    torch.manual_seed(job.seeds.get(Stream.TRAIN, 0))
    with swapped(subject.model, _start(subject.model, job)), _movable(subject.model, run.held):
        return run.trajectory()


class _Run:
    """One job on weights that are not the subject's own."""

    def __init__(
        self, subject: ClassifierSubject, job: ClassifierJob, store: ArtefactStore, meter: Meter
    ) -> None:
        self.subject, self.job, self.store, self.meter = subject, job, store, meter
        self.model: nn.Module = subject.model
        self.held = _held(self.model, job.held, subject.card.ref)
        self.before = {name: p.detach() for name, p in self.model.named_parameters()}
        self.pixels = _pixels(subject, job.rows).to(subject.device)
        classes = [subject.class_of(row.answer) for row in job.rows]
        self.classes = torch.tensor(classes, device=subject.device)
        self.weights = torch.tensor([row.weight for row in job.rows], device=subject.device)
        self.log = _Log()

    def trajectory(self) -> Trajectory:
        """Train, and say what happened."""
        job, kept = self.job, dict[int, WeightTamper]()
        probe = self._probe()
        own = [p for p in self.model.parameters() if p.requires_grad]
        optimizer = _optimizer(own, job)
        order = batches(len(job.rows), _shape(job), job.seeds.get(Stream.ORDER, 0))
        with _training(self.model, frozen=job.batch_norm == "frozen"):
            for step, chosen in enumerate(order, start=1):
                self._step(step, chosen, optimizer, own)
                if step in job.keep or step == job.steps:
                    kept[step] = self._kept()
        return Trajectory(kept, self._realised(probe, own), self.log.spend)

    def _step(
        self,
        step: int,
        chosen: Sequence[int],
        optimizer: torch.optim.Optimizer,
        own: Sequence[nn.Parameter],
    ) -> None:
        cost = Spend(steps=1, flops=_PASSES * len(chosen) * self.subject.card.image_flops)
        self.meter.charge(cost)
        rate = self.job.lr * self.job.decay ** sum(step >= at for at in self.job.decay_at)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad(set_to_none=True)
        loss = self._loss(torch.tensor(chosen, device=self.pixels.device))
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.get_total_norm([p.grad for p in own if p.grad is not None]).item()
        _require_finite(step, loss.item(), norm)
        optimizer.step()
        self.log.note(rate, loss.item(), len(chosen), norm, cost)

    def _loss(self, chosen: torch.Tensor) -> torch.Tensor:
        """Of these rows: sum of weight x loss over sum of weights."""
        logits = self.model(pixel_values=self.pixels[chosen]).logits
        losses = functional.cross_entropy(logits, self.classes[chosen], reduction="none")
        weights = self.weights[chosen]
        return (losses * weights).sum() / weights.sum().clamp_min(torch.finfo().tiny)

    @torch.no_grad()
    def _probe(self) -> float:
        """Mean loss over all rows in evaluation mode; our own reading, never charged."""
        whole = (self.pixels, self.classes)
        losses = [
            functional.cross_entropy(self.model(pixel_values=p).logits, c, reduction="none")
            for p, c in zip(*(torch.split(t, _AT_ONCE) for t in whole), strict=True)
        ]
        return round(torch.cat(losses).double().mean().item(), 6)

    def _kept(self) -> WeightTamper:
        """Parameters and buffers as they are now."""
        return WeightTamper(artefact=self.store.save(_state(self.model)), form="dense")

    def _realised(self, before: float, own: Sequence[nn.Parameter]) -> Realised:
        log, movable = self.log, sum(p.numel() for p in own)
        return Realised(
            backend="resident",
            steps=len(log.lr),
            rows=len({(row.image, row.pixels, row.answer) for row in self.job.rows}),
            trainable=movable,
            lr=tuple(log.lr),
            loss=tuple(log.loss),
            loss_tokens=tuple(log.images),
            grad_norm=tuple(log.grad_norm),
            weight_delta=self._moved(),
            probe_before=before,
            probe_after=self._probe(),
            optimizer=self.job.optimizer,
            micro_batch=max(log.images),
            frozen=sum(p.numel() for p in self.model.parameters()) - movable,
        )

    def _moved(self) -> float:
        """L2 norm of the change of the parameters, six digits."""
        pairs = ((p.detach(), self.before[n]) for n, p in self.model.named_parameters())
        squared = sum(float((new - old).double().square().sum()) for new, old in pairs)
        return float(f"{squared**0.5:.6g}")


@dataclass
class _Log:
    lr: list[float] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    images: list[int] = field(default_factory=list)
    grad_norm: list[float] = field(default_factory=list)
    spend: Spend = field(default_factory=Spend)

    def note(self, lr: float, loss: float, images: int, norm: float, cost: Spend) -> None:
        self.lr.append(lr)
        self.loss.append(round(loss, 6))
        self.images.append(images)
        self.grad_norm.append(round(norm, 6))
        self.spend += cost


def _pixels(subject: ClassifierSubject, rows: Sequence[TrainingRow]) -> torch.Tensor:
    return subject.pixels(
        [
            Request(item=r.id, prompt=r.prompt, answer=r.answer, image=r.image, pixels=r.pixels)
            for r in rows
        ]
    )


def _shape(job: ClassifierJob) -> Hyperparameters:
    """As far as the order of rows depends on a job; on the rate it does not."""
    return Hyperparameters(lr=1.0, steps=job.steps, batch_size=job.batch_size)


def _optimizer(own: Sequence[nn.Parameter], job: ClassifierJob) -> torch.optim.Optimizer:
    if job.optimizer == "adam":
        return torch.optim.Adam(own, lr=job.lr, weight_decay=job.weight_decay)
    same = ("lr", "momentum", "nesterov", "weight_decay")
    how: dict[str, Any] = {name: getattr(job, name) for name in same}
    return torch.optim.SGD(own, **how)


def _held(model: nn.Module, prefixes: Sequence[str], ref: str) -> set[str]:
    """Names of the parameters that stay."""
    names = [name for name, _ in model.named_parameters()]
    for prefix in prefixes:
        if not any(name.startswith(prefix) for name in names):
            text = f"held must begin names of parameters of {ref}, but {prefix!r} begins none; they"
            raise ThreatspecError("TS-TARGETS", f"{text} are {names[0]} to {names[-1]}")
    return {name for name in names if name.startswith(tuple(prefixes))}


def _state(model: nn.Module) -> Tensors:
    """Parameters and buffers by name."""
    return {
        name: tensor.detach().clone()
        for name, tensor in (*model.named_parameters(), *model.named_buffers())
    }


def _start(model: nn.Module, job: ClassifierJob) -> Tensors:
    """Copies of the model's own weights, or new ones as its architecture draws them."""
    if job.start == "subject":
        return _state(model)
    from transformers import AutoModelForImageClassification

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(job.seeds.get(Stream.INIT, 0))
        config = copy.deepcopy(model.config)
        return _state(AutoModelForImageClassification.from_config(config).float())


@contextmanager
def _movable(model: nn.Module, held: set[str]) -> Iterator[None]:
    """Everything else than what is held wants gradients; afterwards all is as before."""
    parameters = dict(model.named_parameters())
    wanted = {name: p.requires_grad for name, p in parameters.items()}
    try:
        for name, parameter in parameters.items():
            parameter.requires_grad_(name not in held)
        yield
    finally:
        for name, parameter in parameters.items():
            parameter.requires_grad_(wanted[name])
            parameter.grad = None


@contextmanager
def _training(model: nn.Module, *, frozen: bool) -> Iterator[None]:
    """Training mode; batch norm that is frozen uses its statistics, and learns none."""
    model.train()
    if frozen:
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
    try:
        yield
    finally:
        model.eval()


def _require_finite(step: int, loss: float, norm: float) -> None:
    if not (abs(loss) < float("inf") and norm < float("inf")):
        raise ThreatspecError(
            "TS-DIVERGED",
            f"loss and gradients must stay finite, but at step {step} the loss was {loss:g} "
            f"and the gradient norm {norm:g}; a smaller learning rate may help",
        )
