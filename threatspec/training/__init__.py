"""Training: jobs, back-ends, policies, meters. Attacks and safeguards ask; back-ends train."""

from threatspec.training._adapters import ADAPTERS, AdapterMethod
from threatspec.training._asks import (
    Edited,
    EditRequest,
    Mask,
    MaskRequest,
    ScoreOn,
    ScoreRequest,
    Suffix,
    SuffixRequest,
)
from threatspec.training._flops import forward_flops, training_flops
from threatspec.training._job import (
    Adapter,
    Hyperparameters,
    MaskUse,
    Objective,
    Perturbation,
    Trainer,
    TrainingJob,
    TrainingRow,
    Trajectory,
)
from threatspec.training._meter import BudgetExceeded, Meter
from threatspec.training._policy import Provider, TrainingBlocked, TrainingPolicy, together
from threatspec.training._schedule import learning_rate, steps_per_epoch
from threatspec.training._trainers import TRAINERS, Backend

__all__ = [
    "ADAPTERS",
    "TRAINERS",
    "Adapter",
    "AdapterMethod",
    "Backend",
    "BudgetExceeded",
    "EditRequest",
    "Edited",
    "Hyperparameters",
    "Mask",
    "MaskRequest",
    "MaskUse",
    "Meter",
    "Objective",
    "Perturbation",
    "Provider",
    "ScoreOn",
    "ScoreRequest",
    "Suffix",
    "SuffixRequest",
    "Trainer",
    "TrainingBlocked",
    "TrainingJob",
    "TrainingPolicy",
    "TrainingRow",
    "Trajectory",
    "forward_flops",
    "learning_rate",
    "steps_per_epoch",
    "together",
    "training_flops",
]
