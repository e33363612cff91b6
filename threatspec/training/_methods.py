"""What a run trains: all weights, an adapter beside them, or vectors added to hidden states.

Each method makes something trainable, says how it is kept and how far it went, and leaves the
subject bit-equal.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from threatspec.errors import ThreatspecError
from threatspec.records import ArtefactStore, Spend, Stream
from threatspec.subjects import WeightTamper
from threatspec.subjects._hidden import added
from threatspec.subjects._mount import swapped
from threatspec.subjects._resident import ResidentSubject
from threatspec.subjects._wrap import wrapped
from threatspec.training._adapters import ADAPTERS, adapter_settings
from threatspec.training._batches import Batch, Encoded
from threatspec.training._dropout import dropout
from threatspec.training._flops import training_flops
from threatspec.training._job import Adapter, Perturbation, TrainingJob
from threatspec.training._merged import merged_change
from threatspec.training._perturbation import mean_norms, project

__all__ = ["Method", "method_of"]

_PIECE = 2**18
"""Entries."""

Tensors = dict[str, torch.Tensor]


class Method(ABC):
    """What one job trains on one subject."""

    beside = True
    """Whether the weights themselves stay, and only something new is trained."""

    def __init__(self, subject: ResidentSubject, job: TrainingJob) -> None:
        self.subject, self.job = subject, job
        self.named: dict[str, nn.Parameter] = {}
        """What is trained, by name; known while it is trainable."""

    @contextmanager
    def trainable(self) -> Iterator[nn.Module]:
        """The model with what is trained free to move; afterwards the subject is bit-equal."""
        model = self.subject.model
        try:
            with dropout(model, self.job.hyperparameters.dropout), self._open() as opened:
                yield opened
        finally:
            self.named = {}
            model.zero_grad(set_to_none=True)
            self.subject.model.eval()

    @abstractmethod
    def _open(self) -> Any:
        """Context of the model; sets `named`."""

    @property
    def own(self) -> Mapping[str, torch.Tensor]:
        """The subject's own tensors of what is trained, never touched; none if that is new."""
        return {}

    def begin(self, rows: Sequence[Encoded]) -> None:  # noqa: B027
        """Look at the rows before the first step; our own reading, never charged."""

    def spend(self, batch: Batch) -> Spend:
        """Tokens and operations of one batch, forward and backward."""
        beside = self.size if self.beside else None
        flops = training_flops(self.subject.card, batch.tokens, batch.length, beside)
        return Spend(tokens=batch.tokens, flops=flops)

    def confine(self) -> None:  # noqa: B027
        """What is trained is put where it may be."""

    @abstractmethod
    def checkpoint(self, store: ArtefactStore) -> WeightTamper:
        """What is trained, as it is."""

    @abstractmethod
    def squared_change(self) -> float:
        """Square of the L2 norm of what training changed."""

    def weight_delta(self) -> float:
        """L2 norm of the change of the subject's effective weights, six digits."""
        return float(f"{self.squared_change() ** 0.5:.6g}")

    @property
    def size(self) -> int:
        """Parameters that are trained."""
        return sum(parameter.numel() for parameter in self.named.values())


class Full(Method):
    """All weights: copies are trained, and the subject's own are put back."""

    beside = False

    def __init__(self, subject: ResidentSubject, job: TrainingJob) -> None:
        super().__init__(subject, job)
        self._own: Tensors = {n: p.detach() for n, p in subject.model.named_parameters()}

    @property
    def own(self) -> Mapping[str, torch.Tensor]:
        """All weights as they were."""
        return self._own

    @contextmanager
    def _open(self) -> Iterator[nn.Module]:
        model: nn.Module = self.subject.model
        with (
            swapped(model, {name: tensor.clone() for name, tensor in self.own.items()}),
            _flags(model),
        ):
            self.named = dict(model.named_parameters())
            model.requires_grad_(True)  # an adapter that is mounted has switched it off
            yield model

    def checkpoint(self, store: ArtefactStore) -> WeightTamper:
        """All weights."""
        name = store.save({name: p.detach() for name, p in self.named.items()})
        return WeightTamper(artefact=name, form="dense")

    def squared_change(self) -> float:
        """Over all weights."""
        return sum(_squared(p.detach(), self.own[name]) for name, p in self.named.items())


class Beside(Method):
    """An adapter of peft beside frozen weights."""

    def __init__(self, subject: ResidentSubject, job: TrainingJob, adapter: Adapter) -> None:
        super().__init__(subject, job)
        self.settings = adapter_settings(adapter)
        self.method = ADAPTERS[adapter.method]
        if self.method.peft == "ADAPTION_PROMPT" and "adapter_layers" not in adapter.options:
            most = min(self.settings["adapter_layers"], subject.card.layers)
            self.settings["adapter_layers"] = most

    @contextmanager
    def _open(self) -> Iterator[nn.Module]:
        torch.manual_seed(self.job.seeds.get(Stream.INIT, 0))
        with wrapped(self.subject, self.settings) as model:
            self.named = {n: p for n, p in model.named_parameters() if p.requires_grad}
            if not self.named:
                text = f"targets must name layers of {self.subject.card.ref}, but none is trained"
                raise ThreatspecError("TS-TARGETS", text)
            self._first = self._copies()
            yield model

    def begin(self, rows: Sequence[Encoded]) -> None:
        """Raises ThreatspecError TS-DATA if a row does not fit beside the virtual tokens."""
        longest, most = max(len(row.ids) for row in rows), self.subject.card.context
        if longest + self._virtual > most:
            text = f"rows and {self._virtual} learned tokens must fit into the context of {most} "
            raise ThreatspecError("TS-DATA", f"{text}tokens, but a row has {longest}")

    @property
    def _virtual(self) -> int:
        return int(self.settings["num_virtual_tokens"]) if self.method.virtual else 0

    def spend(self, batch: Batch) -> Spend:
        """Virtual tokens count: embedded ones like any token, a prefix in the attention only."""
        tokens = batch.tokens + (len(batch.ids) * self._virtual if self.method.embedded else 0)
        length = batch.length + self._virtual
        flops = training_flops(self.subject.card, tokens, length, self.size)
        return Spend(tokens=tokens, flops=flops)

    def _copies(self) -> Tensors:
        """Where the parameters began, for methods that cannot be written into the weights."""
        if self.method.mergeable:
            return {}
        return {name: p.detach().clone() for name, p in self.named.items()}

    def checkpoint(self, store: ArtefactStore) -> WeightTamper:
        """The adapter."""
        from peft import get_peft_model_state_dict

        name = store.save(get_peft_model_state_dict(self.subject.model))
        return WeightTamper(artefact=name, form="adapter", adapter=self.settings)

    def squared_change(self) -> float:
        """Of the weights with the adapter written into them, or else of its own parameters."""
        if self.method.mergeable:
            return merged_change(self.subject.model)
        pairs = ((p.detach(), self._first[name]) for name, p in self.named.items())
        return sum(float((new - old).double().square().sum()) for new, old in pairs)


class Perturbed(Method):
    """Vectors that are added to hidden states; they begin at 0."""

    def __init__(self, subject: ResidentSubject, job: TrainingJob, asked: Perturbation) -> None:
        super().__init__(subject, job)
        self.asked = asked
        self.norms: dict[int, float] = {}

    @contextmanager
    def _open(self) -> Iterator[nn.Module]:
        model = self.subject.model
        width, device = self.subject.card.hidden, self.subject.device
        self.vectors = {
            layer: nn.Parameter(torch.zeros(width, device=device)) for layer in self.asked.layers
        }
        self.named = {f"{layer}": vector for layer, vector in self.vectors.items()}
        with _flags(model), added(model, self.vectors):
            model.requires_grad_(False)
            yield model

    @property
    def own(self) -> Mapping[str, torch.Tensor]:
        """The subject's own tensors of what is trained, never touched; none if that is new."""
        return {}

    def begin(self, rows: Sequence[Encoded]) -> None:
        """Norms of the hidden states, with nothing added yet."""
        self.norms = mean_norms(self.subject.model, rows, self.asked.layers, self.subject.end)

    def spend(self, batch: Batch) -> Spend:
        """Tokens and operations of one batch, forward and backward."""
        beside = self.size if self.beside else None
        flops = training_flops(self.subject.card, batch.tokens, batch.length, beside)
        return Spend(tokens=batch.tokens, flops=flops)

    def confine(self) -> None:
        """Back into the ball."""
        project(self.vectors, self.asked, self.norms)

    def checkpoint(self, store: ArtefactStore) -> WeightTamper:
        """The vectors, by layer."""
        name = store.save({name: vector.detach() for name, vector in self.named.items()})
        return WeightTamper(artefact=name, form="perturbation")

    def squared_change(self) -> float:
        """Over all vectors."""
        return sum(float(v.detach().double().square().sum()) for v in self.named.values())


def _squared(new: torch.Tensor, old: torch.Tensor) -> float:
    """Sum of squared differences in double precision, piece by piece: embeddings are large."""
    pairs = zip(torch.split(new.flatten(), _PIECE), torch.split(old.flatten(), _PIECE), strict=True)
    return sum(float((a - b).double().square().sum()) for a, b in pairs)


@contextmanager
def _flags(model: nn.Module) -> Iterator[None]:
    """Which parameters want gradients is afterwards what it was."""
    before = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        yield
    finally:
        for parameter, flag in before:
            parameter.requires_grad_(flag)


def method_of(subject: ResidentSubject, job: TrainingJob) -> Method:
    """What `job` trains.

    Raises ThreatspecError TS-TRIAL-ERROR for a job that asks for two things at once, TS-MASK for a
    mask of weights where it is not they that are trained.
    """
    adapter, perturbation = job.hyperparameters.adapter, job.hyperparameters.perturbation
    if adapter and perturbation:
        text = "a run must train an adapter or a perturbation, but is asked for both"
        raise ThreatspecError("TS-TRIAL-ERROR", text)
    if job.mask and (adapter or perturbation):
        text = "a mask must be of weights that are trained, but what is trained is beside them"
        raise ThreatspecError("TS-MASK", text)
    if adapter:
        return Beside(subject, job, adapter)
    if perturbation:
        return Perturbed(subject, job, perturbation)
    return Full(subject, job)
