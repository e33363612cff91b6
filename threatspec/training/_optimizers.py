"""Update rules by name, and the two kinds of weights that a schedule-free one has."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from threatspec.training._job import Hyperparameters

__all__ = ["evaluated", "make_optimizer"]

Parameters = Sequence[nn.Parameter]
_Made = Callable[[Parameters, Hyperparameters, dict[str, Any]], torch.optim.Optimizer]


def make_optimizer(parameters: Parameters, hyper: Hyperparameters) -> torch.optim.Optimizer:
    """The optimiser of a run over `parameters`; its learning rate is set before every step.

    Weight decay is decoupled in adamw and schedule-free-adamw, and L2 (added to the gradient) in
    the others. Schedule-free AdamW (arXiv 2405.15682) has no warm-up of its own here: the rate it
    is given has one.
    """
    if not parameters:
        raise ValueError("an optimiser must be given parameters, but got none")
    common: dict[str, Any] = {"lr": hyper.lr, "weight_decay": hyper.weight_decay}
    made = _OPTIMIZERS[hyper.optimizer](parameters, hyper, common)
    if _averages(made):
        made.train()  # type: ignore[attr-defined]
    return made


def _lean(parameters: Parameters) -> dict[str, Any]:
    """On a GPU, torch by default holds copies of all tensors at once during a step."""
    return {"foreach": False} if parameters[0].device.type != "cpu" else {}


def _fused(parameters: Parameters) -> dict[str, Any]:
    return {"fused": True} if parameters[0].device.type == "cuda" else {}


def _adamw(own: Parameters, hyper: Hyperparameters, common: dict[str, Any]) -> Any:
    return torch.optim.AdamW(own, betas=hyper.betas, eps=hyper.eps, **common, **_fused(own))


def _adam(own: Parameters, hyper: Hyperparameters, common: dict[str, Any]) -> Any:
    return torch.optim.Adam(own, betas=hyper.betas, eps=hyper.eps, **common, **_fused(own))


def _sgd(own: Parameters, hyper: Hyperparameters, common: dict[str, Any]) -> Any:
    return torch.optim.SGD(
        own, momentum=hyper.momentum, nesterov=hyper.nesterov, **common, **_fused(own)
    )


def _rmsprop(own: Parameters, hyper: Hyperparameters, common: dict[str, Any]) -> Any:
    return torch.optim.RMSprop(own, momentum=hyper.momentum, eps=hyper.eps, **common, **_lean(own))


def _adagrad(own: Parameters, hyper: Hyperparameters, common: dict[str, Any]) -> Any:
    return torch.optim.Adagrad(own, eps=hyper.eps, **common, **_lean(own))


def _adadelta(own: Parameters, hyper: Hyperparameters, common: dict[str, Any]) -> Any:
    return torch.optim.Adadelta(own, eps=hyper.eps, **common, **_lean(own))


def _schedule_free(own: Parameters, hyper: Hyperparameters, common: dict[str, Any]) -> Any:
    from schedulefree import AdamWScheduleFree

    return AdamWScheduleFree(own, betas=hyper.betas, eps=hyper.eps, foreach=False, **common)


_OPTIMIZERS: dict[str, _Made] = {
    "adamw": _adamw,
    "adam": _adam,
    "sgd": _sgd,
    "rmsprop": _rmsprop,
    "adagrad": _adagrad,
    "adadelta": _adadelta,
    "schedule-free-adamw": _schedule_free,
}


def _averages(optimizer: Any) -> bool:
    return hasattr(optimizer, "train") and hasattr(optimizer, "eval")


@contextmanager
def evaluated(optimizer: Any) -> Iterator[None]:
    """The weights that are meant to be used, for as long as the context lasts.

    A schedule-free optimiser computes gradients at other weights than it ends with. What it trains
    on is put back bit-equal, so that reading a checkpoint does not change what comes after it.
    """
    if not _averages(optimizer):
        yield
        return
    own = [p for group in optimizer.param_groups for p in group["params"]]
    kept = [p.detach().clone() for p in own]
    optimizer.eval()
    try:
        yield
    finally:
        optimizer.train()
        for parameter, tensor in zip(own, kept, strict=True):
            parameter.data.copy_(tensor)
