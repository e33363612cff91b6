"""The resident back-end: trains on the loaded subject and gives its weights back bit-equal."""

from __future__ import annotations

from collections.abc import Sequence

from threatspec.records import ArtefactStore
from threatspec.subjects._resident import ResidentSubject
from threatspec.training._batches import encode
from threatspec.training._job import TrainingJob, Trajectory
from threatspec.training._meter import Meter
from threatspec.training._methods import method_of
from threatspec.training._policy import TrainingPolicy
from threatspec.training._run import Run

__all__ = ["ResidentTrainer"]


class ResidentTrainer:
    """The program's own loop on a resident subject, in float32."""

    name = "resident"

    def __init__(self, subject: ResidentSubject, store: ArtefactStore) -> None:
        self.subject = subject
        self.store = store

    def train(
        self, jobs: Sequence[TrainingJob], policy: TrainingPolicy, meter: Meter
    ) -> list[Trajectory]:
        """See :class:`threatspec.training.Trainer`.

        Raises ThreatspecError TS-DATA, TS-TEMPLATE, TS-TARGETS, TS-MASK, TS-DIVERGED,
        TS-OUT-OF-MEMORY, or TS-TRIAL-ERROR for what does not go together.
        """
        return [self._train(job, policy, meter) for job in jobs]

    def _train(self, job: TrainingJob, policy: TrainingPolicy, meter: Meter) -> Trajectory:
        meter.begin_run()
        given = policy.given(job.rows)
        rows = policy.begin(
            self.subject, encode(self.subject, given, job.hyperparameters), self.store
        )
        method = method_of(self.subject, job)
        with method.trainable() as model:
            return Run(self, method, model, rows, policy, meter).trajectory()
