"""What `transformers.Trainer` is told so that it does what a job asks, and what it cannot do.

No torch: a job that this back-end lacks something for is refused before a model is touched.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from threatspec.errors import ThreatspecError
from threatspec.training._job import Hyperparameters, TrainingJob, TrainingRow
from threatspec.training._policy import TrainingPolicy

__all__ = ["arguments", "require_supported"]

_OPTIMIZERS = {
    "adamw": "adamw_torch",
    "sgd": "sgd",
    "rmsprop": "rmsprop",
    "adagrad": "adagrad",
}


def require_supported(
    job: TrainingJob, rows: Sequence[TrainingRow], policy: TrainingPolicy
) -> None:
    """Raises ThreatspecError TS-TRIAL-ERROR that names what this back-end lacks."""
    lacking = list(_lacking(job, rows, policy))
    if lacking:
        raise ThreatspecError(
            "TS-TRIAL-ERROR",
            f"the trainer `transformers` must know all that it is asked for, but it has no "
            f"{', no '.join(lacking)}; the trainer `resident` has",
        )


def _lacking(
    job: TrainingJob, rows: Sequence[TrainingRow], policy: TrainingPolicy
) -> Iterator[str]:
    hyper = job.hyperparameters
    absent = {
        "mask of the weights": job.mask is not None,
        "perturbation of hidden states": hyper.perturbation is not None,
        f"optimizer {hyper.optimizer}": hyper.optimizer not in _OPTIMIZERS,
        "clipping by tensor": hyper.clip_norm is not None and hyper.clip == "tensor",
        "packing of rows": hyper.packing,
        "schedule step-per-epoch": hyper.schedule == "step-per-epoch",
        "cosine-restarts whose cycles do not fill the steps": not _whole_cycles(hyper),
        "rows of different weights": len({row.weight for row in rows if row.weight}) > 1,
        "weights of token losses": policy.imposes("token_weights"),
        "an objective of its own": job.objective is not None,
    }
    return (what for what, missing in absent.items() if missing)


def _whole_cycles(hyper: Hyperparameters) -> bool:
    if hyper.schedule != "cosine-restarts" or hyper.cycle_steps is None:
        return True
    return (hyper.steps - hyper.warmup_steps) % hyper.cycle_steps == 0 and hyper.min_lr == 0


def arguments(hyper: Hyperparameters, accumulation: int) -> dict[str, Any]:
    """Settings of `transformers.TrainingArguments`; nothing is written, nothing is reported.

    Args:
        hyper: what is asked for.
        accumulation: micro-batches per optimiser step.
    """
    schedule, options = _schedule(hyper)
    return {
        "max_steps": hyper.steps,
        "gradient_accumulation_steps": accumulation,
        "learning_rate": hyper.lr,
        "lr_scheduler_type": schedule,
        "lr_scheduler_kwargs": options,
        "warmup_steps": hyper.warmup_steps,
        "optim": _OPTIMIZERS[hyper.optimizer],
        "optim_args": _optimizer_options(hyper),
        "adam_beta1": hyper.betas[0],
        "adam_beta2": hyper.betas[1],
        "adam_epsilon": hyper.eps,
        "weight_decay": hyper.weight_decay,
        # 0 would skip the norm, and the default clips at 1
        "max_grad_norm": float("inf") if hyper.clip_norm is None else hyper.clip_norm,
        "save_strategy": "no",
        "logging_strategy": "no",
        "eval_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "log_level": "error",
        "logging_nan_inf_filter": False,
        "remove_unused_columns": False,
        "label_names": ["labels"],
        "dataloader_pin_memory": False,
    }


def _schedule(hyper: Hyperparameters) -> tuple[str, dict[str, Any]]:
    """Name and options of the schedule there."""
    match hyper.schedule:
        case "constant":
            return ("constant_with_warmup" if hyper.warmup_steps else "constant"), {}
        case "linear" if hyper.min_lr:
            return "polynomial", {"lr_end": hyper.min_lr, "power": 1.0}
        case "linear":
            return "linear", {}
        case "cosine" if hyper.min_lr:
            return "cosine_with_min_lr", {"min_lr": hyper.min_lr}
        case "cosine":
            return "cosine", {}
    cycle = hyper.cycle_steps or max(1, hyper.steps - hyper.warmup_steps)
    cycles = max(1, (hyper.steps - hyper.warmup_steps) // cycle)
    return "cosine_with_restarts", {"num_cycles": cycles}


def _optimizer_options(hyper: Hyperparameters) -> str | None:
    """Options of optimisers other than AdamW, as `transformers` reads them."""
    match hyper.optimizer:
        case "sgd":
            return f"momentum={hyper.momentum!r},nesterov={hyper.nesterov}"
        case "rmsprop":
            return f"momentum={hyper.momentum!r},eps={hyper.eps!r}"
        case "adagrad":
            return f"eps={hyper.eps!r}"
    return None
