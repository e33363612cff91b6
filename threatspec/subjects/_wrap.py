"""A model wrapped in an adapter of peft, and given back as if it had never been."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from threatspec.errors import ThreatspecError

if TYPE_CHECKING:
    from threatspec.subjects._resident import ResidentSubject

__all__ = ["wrapped"]

_EMBEDDED = frozenset({"PROMPT_TUNING", "P_TUNING"})
"""Adapters that write embeddings before the row."""


@contextmanager
def wrapped(subject: ResidentSubject, settings: dict[str, Any]) -> Iterator[Any]:
    """The subject's model is one of peft while the context lasts; it is what is yielded.

    Args:
        subject: whose `model` is replaced, and put back with the very same modules.
        settings: configuration of the adapter as plain data, `peft_type` included.

    Raises ThreatspecError TS-TARGETS if the adapter matches nothing in the model, TS-TRIAL-ERROR
    for settings that it does not have, or if there is an adapter already.
    """
    from peft import PeftModel, get_peft_model

    base = subject.model
    if isinstance(base, PeftModel):
        text = "an adapter must be put beside plain weights, but there is one already"
        raise ThreatspecError("TS-TRIAL-ERROR", text)
    with _restored(base):
        config = _config(base, settings)
        try:
            with warnings.catch_warnings():
                # both are of no consequence, as tests show
                warnings.filterwarnings("ignore", message="Unsupported layer type")
                warnings.filterwarnings("ignore", message="The following .*_pattern keys did")
                model = get_peft_model(base, config)
        except (ValueError, KeyError, TypeError) as error:
            text = f"targets must name layers of {subject.card.ref} that the adapter can work on"
            raise ThreatspecError("TS-TARGETS", f"{text}: {error}") from error
        if settings["peft_type"] in _EMBEDDED:
            _keep_positions(model, config.num_virtual_tokens)
        subject.model = model
        try:
            yield model
        finally:
            subject.model = base


def _config(model: nn.Module, settings: dict[str, Any]) -> Any:
    from peft import get_peft_config

    settings = dict(settings)
    kind = settings["peft_type"]
    if kind == "LN_TUNING":
        settings.setdefault("target_modules", _norms(model))
    try:
        config = get_peft_config(settings)
    except (TypeError, ValueError) as error:
        text = f"options of an adapter must be settings of its configuration in peft: {error}"
        raise ThreatspecError("TS-TRIAL-ERROR", text) from error
    if hasattr(config, "fan_in_fan_out"):
        config.fan_in_fan_out = _stores_inputs_first(model)
    return config


def _norms(model: nn.Module) -> list[str]:
    """Names of normalisation layers, whatever the architecture calls their class."""
    named = model.named_modules()
    return sorted(name for name, module in named if "norm" in type(module).__name__.lower())


def _stores_inputs_first(model: nn.Module) -> bool:
    """Whether linear layers are Conv1D (GPT-2), whose weights are inputs x outputs."""
    return any(type(module).__name__ == "Conv1D" for module in model.modules())


def _keep_positions(model: Any, tokens: int) -> None:
    """While replies are written, positions are those after the virtual tokens.

    peft drops position ids here, and padding on the left would move a prompt away from the virtual
    tokens: replies would depend on what else is in the batch.
    """
    bare, whole = (
        model.base_model_prepare_inputs_for_generation,
        model.prepare_inputs_for_generation,
    )
    seen: list[torch.Tensor | None] = []

    def plain(*args: Any, **kwargs: Any) -> Any:
        found = bare(*args, **kwargs)
        seen.append(found.pop("position_ids", None))
        return found

    def shifted(*args: Any, **kwargs: Any) -> Any:
        found, places = whole(*args, **kwargs), seen.pop()
        if places is None:
            return found
        places = places + tokens
        if found.get("inputs_embeds") is not None:
            first = torch.arange(tokens, device=places.device).expand(len(places), -1)
            places = torch.cat([first, places], dim=1)
        return {**found, "position_ids": places}

    model.base_model_prepare_inputs_for_generation = plain
    model.prepare_inputs_for_generation = shifted


@contextmanager
def _restored(model: nn.Module) -> Iterator[None]:
    """Whatever is done to the tree of modules is undone; tensors are not touched."""
    modules = [(m, dict(vars(m)), dict(m._modules)) for m in model.modules()]
    wanted = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        yield
    finally:
        for module, own, children in modules:
            for name in set(vars(module)) - set(own):
                del vars(module)[name]
            vars(module).update(own)
            module._modules.clear()
            module._modules.update(children)
        for parameter, flag in wanted:
            parameter.requires_grad_(flag)
        model.eval()
