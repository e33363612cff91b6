"""A model wrapped in an adapter of peft, and given back as if it had never been."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import nn

from threatspec.errors import ThreatspecError

if TYPE_CHECKING:
    from threatspec.subjects._resident import ResidentSubject

__all__ = ["wrapped"]


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
            model = get_peft_model(base, config)
        except (ValueError, KeyError) as error:
            text = f"targets must name layers of {subject.card.ref} that the adapter can work on"
            raise ThreatspecError("TS-TARGETS", f"{text}: {error}") from error
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


@contextmanager
def _restored(model: nn.Module) -> Iterator[None]:
    """Whatever is done to the tree of modules is undone; tensors are not touched."""
    modules = [(module, dict(module._modules)) for module in model.modules()]
    wanted = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    own = dict(vars(model))
    try:
        yield
    finally:
        for name in set(vars(model)) - set(own):
            del vars(model)[name]
        vars(model).update(own)
        for module, children in modules:
            module._modules.clear()
            module._modules.update(children)
        for parameter, flag in wanted:
            parameter.requires_grad_(flag)
        model.eval()
