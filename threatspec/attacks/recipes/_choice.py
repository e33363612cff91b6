"""The knob `recipe` of attacks that train: a name, or a name with knobs."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny

from threatspec.attacks._choice import Offered, chosen
from threatspec.attacks.recipes.base import RECIPES, RecipeConfig

__all__ = ["PLAIN", "RecipeChoice"]

PLAIN = RecipeConfig(use="plain")
"""Rows as they are, which is meant where no recipe is named."""


def _chosen(value: Any) -> Any:
    """`NAME` or `{use: NAME, knob: value}` as the recipe's own configuration."""
    return chosen(value, "recipe", RECIPES, RecipeConfig)


RecipeChoice = Annotated[
    SerializeAsAny[RecipeConfig],
    BeforeValidator(_chosen),
    Offered(lambda: RECIPES.survey()[0]),  # those of plug-ins too
]
"""Type of the knob; what is read is the configuration of the recipe that is named."""
