"""Training: jobs, back-ends, policies, meters. Attacks and safeguards ask; back-ends train."""

from threatspec.training._flops import forward_flops, training_flops
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
from threatspec.training._schedule import learning_rate

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
    "forward_flops",
    "learning_rate",
    "training_flops",
]
