"""Objectives: losses of safeguards that take more than the answers of rows. One file per objective.

A safeguard names one in its job; the resident loop asks it for gradients and keeps everything else:
optimiser, schedule, clipping, masks, meter, checkpoints, what is realised.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from threatspec.training._job import TrainingJob

if TYPE_CHECKING:
    from torch import nn

    from threatspec.training._batches import Encoded
    from threatspec.training._resident import ResidentTrainer
    from threatspec.training.objectives.base import Objective

__all__ = ["OBJECTIVES", "ObjectiveMethod", "objective_of"]


@dataclass(frozen=True, slots=True)
class ObjectiveMethod:
    """A row of the table: what it minimises, and where it is."""

    says: str
    module: str
    """Of this package; its class is called as its `Method`."""


OBJECTIVES: Mapping[str, ObjectiveMethod] = {
    "latent-adversarial": ObjectiveMethod(
        "keeps refusing under vectors added to hidden states, and keeps benign rows",
        "latent_adversarial",
    ),
    "repnoise": ObjectiveMethod(
        "keeps refusals, noises and unlearns what complying answers look like inside", "repnoise"
    ),
    "rerouting": ObjectiveMethod(
        "turns hidden states of complying answers away, and keeps those of other text", "rerouting"
    ),
    "tar": ObjectiveMethod("keeps benign rows, and stays safe where adversaries train on", "tar"),
}
"""All objectives by name."""


def objective_of(
    trainer: ResidentTrainer, model: nn.Module, job: TrainingJob, rows: list[Encoded]
) -> Objective:
    """The objective of a job, ready for its first step. Raises KeyError for an unknown name."""
    assert job.objective is not None
    module: Any = import_module(f"{__name__}.{OBJECTIVES[job.objective.name].module}")
    found: Objective = module.Method(trainer, model, job, rows)
    return found
