"""Training: jobs, back-ends, policies, meters. Attacks and safeguards ask; back-ends train."""

from threatspec.training._job import (
    Hyperparameters,
    Lora,
    Trainer,
    TrainingJob,
    TrainingRow,
    Trajectory,
)
from threatspec.training._meter import BudgetExceeded, Meter
from threatspec.training._policy import TrainingPolicy

__all__ = [
    "BudgetExceeded",
    "Hyperparameters",
    "Lora",
    "Meter",
    "Trainer",
    "TrainingJob",
    "TrainingPolicy",
    "TrainingRow",
    "Trajectory",
]
