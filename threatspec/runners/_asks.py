"""What attacks and safeguards ask for, done on a resident subject: training, masks, edits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from threatspec.errors import ThreatspecError
from threatspec.records import ArtefactStore, Edit, Realised
from threatspec.runners._stopwatch import Stopwatch
from threatspec.training import (
    EditRequest,
    Mask,
    MaskRequest,
    Meter,
    TrainingJob,
    TrainingPolicy,
    Trajectory,
)
from threatspec.training._replay import schedule_departure

if TYPE_CHECKING:
    from collections.abc import Generator

    from threatspec.subjects._resident import ResidentSubject
    from threatspec.training import Edited

__all__ = ["Asks"]


@dataclass
class Asks:
    """Answers one after the other, and remembers what was really done.

    Args:
        subject: what is worked on.
        store: artefacts are read and written there.
        meter: charged before anything is spent.
        watch: seconds by phase.
        backend: name of the trainer.
        policy: what the provider imposes on training.
    """

    subject: ResidentSubject
    store: ArtefactStore
    meter: Meter
    watch: Stopwatch
    backend: str = "resident"
    policy: TrainingPolicy = field(default_factory=TrainingPolicy)
    realised: list[Realised] = field(default_factory=list)
    edits: list[Edit] = field(default_factory=list)

    def drive(self, steps: Generator[Any, Any, Any]) -> Any:
        """Answer until the generator returns; what it returns."""
        try:
            ask = next(steps)
            while True:
                ask = steps.send(self.answer(ask))
        except StopIteration as stop:
            return stop.value

    def answer(self, ask: Any) -> Any:
        """Trajectory, Mask or Edited."""
        match ask:
            case TrainingJob():
                return self._train(ask)
            case MaskRequest():
                return self._mask(ask)
            case EditRequest():
                return self._edit(ask)
        raise TypeError(f"an attack must ask for something known, but asked for {type(ask)}")

    def _train(self, job: TrainingJob) -> Trajectory:
        from threatspec.training import TRAINERS

        trainer = TRAINERS.get(self.backend).on(self.subject, self.store)
        with self.watch.phase("train"):
            [trajectory] = trainer.train([job], self.policy, self.meter)
        self.realised.append(trajectory.realised)
        rows = len(self.policy.mix(self.policy.admit(job.rows)))
        whole = trajectory.realised.steps == job.hyperparameters.steps  # else it is not alive
        fault = schedule_departure(job.hyperparameters, trajectory.realised, rows)
        if whole and fault:
            raise ThreatspecError("TS-TRIAL-ERROR", fault)
        return trajectory

    def _mask(self, request: MaskRequest) -> Mask:
        from threatspec.training._masks import make_mask

        with self.watch.phase("mount"):
            return make_mask(self.subject, request, self.store)

    def _edit(self, request: EditRequest) -> Edited:
        from threatspec.training.regions import edit

        with self.watch.phase("mount"):
            edited = edit(self.subject, request, self.store)
        self.edits.append(edited.edit)
        return edited
