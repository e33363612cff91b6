"""Data recipes: how an adversary's rows become training rows. One file per recipe, or a table."""

from threatspec.attacks.recipes._apply import (
    Prepared,
    asked_as,
    prepare,
    rows_out,
    training_job,
    ways,
    words_added,
)
from threatspec.attacks.recipes._choice import PLAIN, RecipeChoice
from threatspec.attacks.recipes._wrap import WrapTamper
from threatspec.attacks.recipes.base import RECIPES, Recipe, RecipeConfig

__all__ = [
    "PLAIN",
    "RECIPES",
    "Prepared",
    "Recipe",
    "RecipeChoice",
    "RecipeConfig",
    "WrapTamper",
    "asked_as",
    "prepare",
    "rows_out",
    "training_job",
    "ways",
    "words_added",
]
