"""What an objective is: gradients for the rows of a step, and what they cost."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from threatspec.records import Spend, Stream
from threatspec.training._batches import Batch, Encoded, batches, collate, encode
from threatspec.training._job import TrainingJob, TrainingRow

if TYPE_CHECKING:
    from threatspec.training._resident import ResidentTrainer

__all__ = ["Objective"]


class Objective(ABC):
    """A loss of one job. The loop zeroes gradients, asks for those of a step, and takes the step.

    Args:
        trainer: whose subject is trained, and whose store keeps artefacts.
        model: the subject's model, or an adapter around it; its weights are those at the start.
        job: with `rows` and `objective.beside`, the two kinds of rows, and `objective.settings`.
        rows: `job.rows`, encoded with the answer.
    """

    def __init__(
        self, trainer: ResidentTrainer, model: nn.Module, job: TrainingJob, rows: list[Encoded]
    ) -> None:
        assert job.objective is not None
        self.trainer, self.model, self.job, self.rows = trainer, model, job, rows
        self.subject = trainer.subject
        self.settings: dict[str, Any] = dict(job.objective.settings)
        self.beside = self.encoded(job.objective.beside) if job.objective.beside else []
        seed = job.seeds.get(Stream.TRAIN, 0)
        self.noise = torch.Generator(device="cpu").manual_seed(seed)
        """For everything that is drawn at random, on the CPU so that devices agree."""
        self.details: dict[str, list[float]] = {}
        """What was realised, by name: one number for each step, or for each draw."""
        self._drawn: Iterator[list[int]] | None = None

    @abstractmethod
    def cost(self, step: int, chosen: Sequence[int]) -> Spend:
        """What `backward` will take, charged before; its `steps` are left to the loop."""

    @abstractmethod
    def backward(self, step: int, chosen: Sequence[int]) -> float:
        """Add gradients to `.grad` of what is trained; the loss, for the record.

        Args:
            step: from 1.
            chosen: numbers of rows of `rows` (and of `job.rows`).
        """

    # what several objectives need

    def encoded(self, rows: Sequence[TrainingRow]) -> list[Encoded]:
        """Rows in the subject's template; the loss is on their answers."""
        return encode(self.subject, rows, self.job.hyperparameters)

    def batch(self, rows: Sequence[Encoded]) -> Batch:
        """Rows of different lengths as one batch, on the model's device."""
        return collate(rows, self.subject.end).to(self.subject.device)

    def next_beside(self, size: int) -> list[Encoded]:
        """The next rows of the second kind: none comes again before all have come."""
        if self._drawn is None:
            hyper = self.job.hyperparameters.model_copy(update={"batch_size": size, "steps": 10**6})
            order = self.job.seeds.get(Stream.ORDER, 0)
            self._drawn = batches(len(self.beside), hyper, order + 1)
        return [self.beside[i] for i in next(self._drawn)]

    def note(self, name: str, value: float) -> None:
        """Remember what was realised."""
        self.details.setdefault(name, []).append(round(float(value), 6))
