"""What all suites ask of a component's parts: its sentence and its configuration."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from threatspec.schema import field_docs
from threatspec.subjects import Offer

__all__ = ["Ground", "check_config", "check_says", "ground_of"]


@dataclass(frozen=True)
class Ground:
    """What a component is tried on where its suite says nothing else."""

    attacked: str
    """Subject of attacks."""
    safeguarded: str
    """Subject of safeguards."""
    harmful: str
    """Benchmark whose rows are of the role `harmful`, or `safety`."""
    benign: str
    rows: int
    """How many an attack is given of each."""
    request: str = ""
    """Reference of the image that is shown with a request; empty: none."""


_SPOKEN = Ground(
    attacked="specimen:shallow",
    safeguarded="specimen:undefended",
    harmful="specimen/restricted",
    benign="specimen/benign",
    rows=4,
)
_SHOWN = Ground(
    attacked="specimen:mnist-vgg",
    safeguarded="specimen:mnist-vgg",
    harmful="mnist5k",
    benign="mnist5k",
    rows=40,
    request="mnist5k:17",
)
"""Batch norm has statistics to be given back, and its layers follow one another."""


def ground_of(offers: Set[Offer]) -> Ground:
    """A language model, or a classifier for what needs images."""
    return _SHOWN if offers & {Offer.IMAGE, Offer.CLASSES} else _SPOKEN


def check_says(says: object) -> None:
    """One plain line, as `list` and `explain` print it."""
    assert isinstance(says, str)
    assert says.strip()
    assert says == says.strip()
    assert says.isprintable(), "what it says must be one line"


def check_config(config: type[BaseModel], base: type[BaseModel], knobs: dict[str, Any]) -> None:
    """Derived from `base`, frozen, strict, and every knob described in a sentence (with its unit).

    Reports print knobs and hash them; a knob that can change, that takes what nobody wrote or that
    nobody can read has no place there.
    """
    assert issubclass(config, base)
    settings = config.model_config
    assert settings.get("frozen"), "a configuration must be frozen"
    assert settings.get("strict"), "a configuration must be strict: no text for a number"
    assert settings.get("extra") == "forbid", "an unknown knob must be refused"
    assert settings.get("allow_inf_nan") is False, "a knob must be finite"
    for name in config.model_fields:
        words = field_docs(config).get(name, "").split()
        assert len(words) >= 2, f"{name}: a docstring below the knob must say what it is"
        assert words[-1].endswith("."), f"{name}: what a knob is must be a sentence"
    _check_use(config, knobs)


def _check_use(config: type[BaseModel], knobs: dict[str, Any]) -> None:
    made = config(**knobs)
    assert config.model_validate_json(made.model_dump_json(by_alias=True)) == made, (
        "it must survive JSON"
    )
    try:
        config(**knobs, no_such_knob=1)
    except ValidationError:
        return
    raise AssertionError("an unknown knob must be refused")
