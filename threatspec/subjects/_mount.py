"""Applying tampers: weights are mounted and given back bit-exactly, requests are rewritten."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from threatspec.records import ArtefactStore
from threatspec.schema import Serving
from threatspec.subjects._hidden import added
from threatspec.subjects._request import Request
from threatspec.subjects._resident import ResidentSubject
from threatspec.subjects._tampers import RequestTamper, ServingTamper, Tamper, WeightTamper
from threatspec.subjects._wrap import wrapped

__all__ = ["decoded", "encoded", "mount", "served", "swapped"]


@contextmanager
def mount(subject: Any, tampers: Sequence[Tamper], store: ArtefactStore) -> Iterator[None]:
    """Apply the weight tampers, in order, for as long as the context lasts.

    Args:
        subject: a resident one; adapters and perturbations are for language models alone.
    """
    with ExitStack() as stack:
        for tamper in tampers:
            if isinstance(tamper, WeightTamper):
                tensors = store.load(tamper.artefact)
                stack.enter_context(_mounted(subject, tamper, tensors))
        yield


def _mounted(subject: Any, tamper: WeightTamper, tensors: dict[str, torch.Tensor]) -> Any:
    match tamper.form:
        case "dense":
            return swapped(subject.model, tensors)
        case "adapter":
            return _adapted(subject, tamper.adapter or {}, tensors)
        case "perturbation":
            vectors = {int(layer): vector for layer, vector in tensors.items()}
            return added(subject.model, vectors)


@contextmanager
def swapped(model: torch.nn.Module, tensors: dict[str, torch.Tensor]) -> Iterator[None]:
    """Point parameters and buffers at other tensors; on exit they point at their own again,
    untouched: what is written to a buffer meanwhile (statistics of batch norm) is written there."""
    there = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    unknown = sorted(set(tensors) - set(there))
    if unknown:
        raise ValueError(
            f"tampered tensors must be parameters of the model, but {unknown[0]} is none"
        )
    own = {name: there[name].data for name in tensors}
    try:
        for name, tensor in tensors.items():
            there[name].data = tensor.to(own[name])
        yield
    finally:
        for name, tensor in own.items():
            there[name].data = tensor


@contextmanager
def _adapted(
    subject: ResidentSubject, adapter: dict[str, Any], tensors: dict[str, torch.Tensor]
) -> Iterator[None]:
    """The model with an adapter whose tensors are known."""
    from peft import set_peft_model_state_dict

    with wrapped(subject, {**adapter, "inference_mode": True}) as model:
        set_peft_model_state_dict(model, tensors)
        model.eval()
        yield


def served(tampers: Sequence[Tamper], servings: Sequence[Serving]) -> tuple[Serving, ...]:
    """The servings under which the attacked subject is asked; what is listed twice is used once."""
    for tamper in tampers:
        if isinstance(tamper, ServingTamper):
            servings = [other for serving in servings for other in tamper.serve(serving)]
    return tuple(dict.fromkeys(servings))


def encoded(tampers: Sequence[Tamper], requests: Sequence[Request]) -> list[Request]:
    """The requests that reach the subject, in order."""
    found = list(requests)
    for tamper in tampers:
        if isinstance(tamper, RequestTamper):
            found = tamper.encode_all(found)
    return found


def decoded(tampers: Sequence[Tamper], replies: Sequence[str]) -> list[str | None]:
    """The replies that reach the judge, the last rewriting undone first; None: it cannot be."""
    found: list[str | None] = list(replies)
    for tamper in reversed(tampers):
        if isinstance(tamper, RequestTamper):
            found = _read_back(tamper, found)
    return found


def _read_back(tamper: RequestTamper, replies: Sequence[str | None]) -> list[str | None]:
    there = iter(tamper.decode_all([reply for reply in replies if reply is not None]))
    return [None if reply is None else next(there) for reply in replies]
