"""Recipes at work: rows for a run with every promise of the recipe checked."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from threatspec.attacks.base import Attack, AttackConfig, AttackContext
from threatspec.attacks.recipes.base import RECIPES, RecipeConfig
from threatspec.errors import ThreatspecError
from threatspec.records import Stream
from threatspec.schema import Access, Capability, DataRole
from threatspec.subjects import Tamper
from threatspec.training import Hyperparameters, MaskUse, TrainingJob, TrainingRow

__all__ = [
    "Prepared",
    "asked_as",
    "prepare",
    "rows_out",
    "training_job",
    "ways",
    "words_added",
]


@dataclass(frozen=True, slots=True)
class Prepared:
    """Rows of one training run."""

    rows: tuple[TrainingRow, ...]
    ordered: bool
    """Whether they must be read once, in this order."""


def prepare(
    config: RecipeConfig,
    harmful: Sequence[TrainingRow],
    benign: Sequence[TrainingRow],
    *,
    reads: int,
    subset: int,
    order: int,
) -> Prepared:
    """Rows for a run that reads `reads` of them.

    Args:
        config: of the recipe, which it names.
        harmful: the adversary's rows by role, already drawn.
        benign: the others.
        reads: optimiser steps times rows per step.
        subset: seed of what a recipe draws.
        order: seed of the order, where a recipe fixes one.

    Raises ThreatspecError TS-DATA if no row comes out, TS-RECIPE if a row cannot be used or there
    are not as many as the recipe states.
    """
    recipe = RECIPES.get(config.use)
    made = recipe.rows(harmful, benign, config, random.Random(f"{subset}/recipe"))
    if not made:
        text = f"recipe {config.use} must have rows to train on, but "
        raise ThreatspecError("TS-DATA", f"{text}{len(harmful)} harmful and {len(benign)} benign "
                              "rows give none")  # fmt: skip
    stated = recipe.count(len(harmful), len(benign), config)
    if len(made) != stated:
        text = f"recipe {config.use} must give the {stated} rows that it states, but gives "
        raise ThreatspecError("TS-RECIPE", f"{text}{len(made)}")
    _check_answers(config.use, (*harmful, *benign, *made))
    if recipe.ordered:
        made = recipe.sequence(harmful, benign, config, reads, random.Random(f"{order}/recipe"))
    return Prepared(made, recipe.ordered)


def training_job(
    context: AttackContext,
    hyperparameters: Hyperparameters,
    recipe: RecipeConfig,
    mask: MaskUse | None = None,
) -> TrainingJob:
    """A training run on the adversary's rows by a recipe; rows of no role count as harmful.

    Raises ThreatspecError as `prepare` does.
    """
    recipe = recipe.told(context.secret) if recipe.leaked else recipe
    seeds, benign = context.seeds, context.benign
    harmful = context.harmful if context.harmful or benign else context.rows
    batch = min(
        hyperparameters.batch_size, RECIPES.get(recipe.use).count(len(harmful), len(benign), recipe)
    )
    made = prepare(
        recipe, harmful, benign, reads=hyperparameters.steps * batch,
        subset=seeds.get(Stream.DATA_SUBSET, 0), order=seeds.get(Stream.ORDER, 0),
    )  # fmt: skip
    if made.ordered:
        update = {"shuffle": False, "batch_size": batch}
        hyperparameters = hyperparameters.model_copy(update=update)
    return TrainingJob(
        rows=made.rows, hyperparameters=hyperparameters, seeds=dict(seeds), mask=mask
    )


def asked_as(recipe: RecipeConfig) -> tuple[Tamper, ...]:
    """How the attacked subject is asked, after what was trained."""
    return RECIPES.get(recipe.use).tampers(recipe)


def _check_answers(name: str, rows: Sequence[TrainingRow]) -> None:
    blank = next((row.id for row in rows if not row.answer.strip()), None)
    if blank is not None:
        text = f"recipe {name} needs rows with an answer, but {blank} has none"
        raise ThreatspecError("TS-RECIPE", text)


def rows_out(config: RecipeConfig, rows: int) -> int:
    """How many training rows come out of so many rows of the adversary, before anything runs."""
    recipe = RECIPES.get(config.use)
    only_benign = recipe.roles == (DataRole.BENIGN,)
    return recipe.count(*((0, rows) if only_benign else (rows, 0)), config)


def words_added(config: RecipeConfig) -> int:
    """Words that the recipe adds to a row at most."""
    return RECIPES.get(config.use).words(config)


def ways(attack: Attack, config: AttackConfig) -> tuple[Access, ...]:
    """Sets of capabilities, any one of which is enough for an attack with these knobs.

    Whoever holds the weights may ask as they like; others need what their recipe takes.
    """
    held = Capability.WEIGHTS_WRITE
    return tuple(need if held in need else need | config.needs for need in attack.needs)
