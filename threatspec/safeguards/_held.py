"""Weights that a provider holds while others train: a mask of the job, and of what leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from threatspec.errors import ThreatspecError
from threatspec.subjects import WeightTamper
from threatspec.training import MaskUse, Provider, TrainingJob, TrainingPolicy

if TYPE_CHECKING:
    from threatspec.records import ArtefactStore
    from threatspec.subjects._resident import ResidentSubject

__all__ = ["HeldPolicy"]


class HeldPolicy(TrainingPolicy):
    """Coordinates of `held` are bit-identical in what leaves the provider.

    Training of the weights themselves is masked throughout. Training of an adapter is not: its
    product is added to the weights, and held coordinates are then set back.
    """

    def __init__(self, held: str) -> None:
        self.held = held

    def use(self) -> tuple[str, Literal["freeze", "only"]]:
        """The mask that training gets, and what it means."""
        return self.held, "freeze"

    def masked(self, job: TrainingJob) -> TrainingJob:
        """The job with the mask in it. Raises ThreatspecError TS-MASK beside a mask of its own."""
        if job.mask is not None:
            text = f"{self.name} masks the weights, and the job has a mask of its own; a provider "
            raise ThreatspecError("TS-MASK", f"{text}keeps one only")
        artefact, mode = self.use()
        return job.model_copy(update={"mask": MaskUse(artefact=artefact, mode=mode)})

    def dense(self, job: TrainingJob) -> bool:
        """Whether the weights themselves are trained."""
        return job.hyperparameters.adapter is None and job.hyperparameters.perturbation is None

    def restrict(self, job: TrainingJob, provider: Provider) -> TrainingJob:
        """The job with the mask, where there are weights to be masked."""
        return self.masked(job) if self.dense(job) else job

    def release(
        self, subject: ResidentSubject, tamper: WeightTamper, store: ArtefactStore
    ) -> WeightTamper:
        """An adapter as the weights that it makes, with held coordinates as they were."""
        if tamper.form == "dense":
            return tamper
        from threatspec.training._held import set_back

        return set_back(subject, tamper, self.held, store)
