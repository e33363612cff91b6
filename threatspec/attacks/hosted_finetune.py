"""Attack `hosted-finetune`: the adversary's rows go through a fine-tuning service."""

from __future__ import annotations

from collections.abc import Generator
from math import ceil
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from threatspec.attacks.base import (
    ATTACKS,
    Answer,
    Ask,
    Attack,
    AttackConfig,
    AttackContext,
    DataCard,
    Surface,
)
from threatspec.attacks.recipes import (
    PLAIN,
    RECIPES,
    RecipeChoice,
    RecipeConfig,
    asked_as,
    rows_out,
    training_job,
    words_added,
)
from threatspec.records import Spend, Stream
from threatspec.schema import Access, Capability, DataRole
from threatspec.subjects import Offer, SubjectCard, Tamper, WeightTamper
from threatspec.subjects._endpoint import HostedTamper
from threatspec.training import Hyperparameters, training_flops
from threatspec.training._job import Hosted

__all__ = ["HostedFinetune", "HostedFinetuneConfig"]

_LR, _BATCH = 1e-4, 10
"""What `auto` means where the subject is trained here, in place of a service."""
_KNOBS = ("batch_size", "learning_rate_multiplier")

Auto = Literal["auto"]


def _unordered(recipe: RecipeConfig) -> RecipeConfig:
    if RECIPES.get(recipe.use).ordered:
        text = f"a service orders rows itself, which recipe {recipe.use} does not allow"
        raise PydanticCustomError("recipe", "{message}", {"message": text, "code": "TS-RECIPE"})
    return recipe


class HostedFinetuneConfig(AttackConfig):
    """What a fine-tuning service lets its customers set."""

    epochs: Annotated[int, Field(ge=1, le=50)] = 5
    """Times that the service goes through all rows."""
    batch_size: Annotated[int, Field(ge=1, le=1024)] | Auto = "auto"
    """Rows per optimiser step; `auto` = the service chooses. Other values need the capability
    `finetune_hyperparameters`."""
    learning_rate_multiplier: Annotated[float, Field(gt=0, le=100)] | Auto = "auto"
    """Of the service's own learning rate; `auto` = the service chooses. Other values need the
    capability `finetune_hyperparameters`."""
    recipe: Annotated[RecipeChoice, AfterValidator(_unordered)] = PLAIN
    """How the adversary's rows become training rows: a name, or {use: NAME, ...}."""

    @property
    def needs(self) -> Access:
        """Capabilities beyond those of the attack that these knobs take."""
        chosen = any(getattr(self, knob) != "auto" for knob in _KNOBS)
        knobs = frozenset({Capability.FINETUNE_HYPERPARAMETERS}) if chosen else frozenset()
        return knobs | RECIPES.get(self.recipe.use).asks(self.recipe)

    def hyperparameters(self, rows: int) -> Hyperparameters:
        """What is sent, and what a back-end here does instead with `rows` rows."""
        batch = _BATCH if self.batch_size == "auto" else self.batch_size
        scale = 1.0 if self.learning_rate_multiplier == "auto" else self.learning_rate_multiplier
        hosted = Hosted(
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate_multiplier=self.learning_rate_multiplier,
        )
        steps = self.epochs * ceil(rows / min(batch, rows))
        return Hyperparameters(lr=_LR * scale, steps=steps, batch_size=batch, hosted=hosted)


class HostedFinetune(Attack):
    """Rows and epochs only, as a customer of a service has them; optimiser and rate are not his."""

    kind = "hosted-finetune"
    says = "has a fine-tuning service train on the adversary's rows"
    needs = (frozenset({Capability.FINETUNE_DATA}),)
    offers = frozenset({Offer.TEXT, Offer.TRAINING})
    surface = Surface.WEIGHTS
    streams = frozenset({Stream.DATA_SUBSET, Stream.ORDER})
    uses_rows = True
    trainers = ("hosted", "resident", "transformers")
    Config = HostedFinetuneConfig

    def roles(self, config: HostedFinetuneConfig) -> tuple[DataRole, ...] | None:
        """Those of the recipe."""
        return RECIPES.get(config.recipe.use).roles

    def cost(
        self, subject: SubjectCard, config: HostedFinetuneConfig, data: DataCard | None
    ) -> Spend:
        """Predicted spend of one run: every row as long as the longest."""
        rows, words = (data.rows, data.words) if data else (1, 1)
        rows, words = rows_out(config.recipe, rows), words + words_added(config.recipe)
        hyper = config.hyperparameters(rows)
        length = round(words * subject.tokens_per_word) + subject.template_tokens
        tokens = hyper.steps * min(hyper.batch_size, rows) * min(subject.context, length)
        flops = training_flops(subject, tokens, min(subject.context, length))
        return Spend(steps=hyper.steps, tokens=tokens, flops=flops)

    def run(
        self, context: AttackContext, config: HostedFinetuneConfig
    ) -> Generator[Ask, Answer, tuple[Tamper, ...]]:
        """Ask for one job; leave the name of the tuned model, or weights that were trained here."""
        hyper = config.hyperparameters(rows_out(config.recipe, len(context.rows)))
        trajectory = yield training_job(context, hyper, config.recipe)
        made: HostedTamper | WeightTamper = trajectory.last
        return (made, *asked_as(config.recipe))


ATTACKS.register(HostedFinetune.kind, HostedFinetune())
