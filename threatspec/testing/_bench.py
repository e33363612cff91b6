"""A bench: one resident subject and an executor, as a worker has them."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from threatspec.records import ArtefactStore, Budget, Execution, Stream, Trial, TrialKind
from threatspec.runners._executor import Executor
from threatspec.subjects import SubjectCard, Tamper, describe
from threatspec.training import Meter, TrainingJob, TrainingPolicy, Trajectory

if TYPE_CHECKING:
    from threatspec.records import TrialResult
    from threatspec.subjects._resident import ResidentSubject

__all__ = ["Bench"]


class Bench:
    """Runs attacks and training on one subject in an empty results folder."""

    def __init__(self, folder: Path, subject: str) -> None:
        self.card: SubjectCard = describe(subject, Path())
        self.store = ArtefactStore(folder / "artefacts")
        self._executor = Executor(self.store, Path(), Execution())

    @property
    def subject(self) -> ResidentSubject:
        """The very subject that trials run on."""
        return self._executor.subject(self.card.ref)

    def attack(
        self,
        kind: str,
        config: dict[str, Any],
        data: dict[str, Any],
        seeds: dict[Stream, int],
        budget: Budget | None,
    ) -> TrialResult:
        """One attack trial."""
        named = {stream.value: seed for stream, seed in seeds.items()}
        work = {"attack": kind, "config": config, "data": data, "seeds": named}
        trial = Trial(
            id="conformance", kind=TrialKind.ATTACK, subject=self.card.ref, needs=(), work=work,
            budget=budget,
        )  # fmt: skip
        return self._executor.run(trial, {})

    def train(self, job: TrainingJob) -> Trajectory:
        """One training run without a budget."""
        from threatspec.training._resident import ResidentTrainer

        [found] = ResidentTrainer(self.subject, self.store).train([job], TrainingPolicy(), Meter())
        return found

    @contextmanager
    def mounted(self, tampers: Sequence[Tamper]) -> Iterator[None]:
        """The subject with `tampers` applied."""
        from threatspec.subjects._mount import mount

        with mount(self.subject, tampers, self.store):
            yield

    def weights(self) -> dict[str, str]:
        """Hash of the bits of every parameter, by name."""
        return {
            name: hashlib.sha256(parameter.detach().contiguous().numpy().tobytes()).hexdigest()
            for name, parameter in self.subject.model.named_parameters()
        }

    def disturb(self) -> None:
        """Move every global source of randomness: only seeds that are given may decide."""
        import numpy
        import torch

        for step in (random.random, numpy.random.random, lambda: torch.rand(1)):
            step()
