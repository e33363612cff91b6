"""Subjects that are built before anything is asked of them: a base, the steps of a recipe, and what
safeguards do to it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from threatspec.campaign._safeguards import Applied
from threatspec.campaign._seeds import replicate_seeds
from threatspec.records import Stream
from threatspec.safeguards import Stage
from threatspec.schema import AdaptStep, MergeStep, Subject, content_id
from threatspec.subjects import SubjectCard

__all__ = ["Recipe", "built_card", "built_name"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a subject is built: once, with seeds of its own."""

    steps: tuple[AdaptStep | MergeStep, ...]
    seeds: dict[Stream, int]
    safeguards: tuple[Applied, ...] = ()
    """What is done after the steps, by stage."""

    @classmethod
    def of(cls, subject: Subject, safeguards: tuple[Applied, ...] = ()) -> Recipe | None:
        """None if the subject is its model as it is."""
        if not subject.build and not subject.unfitted:
            return None
        seeds = replicate_seeds(subject.build_seed, "build", Stream)
        return cls(subject.build, seeds, safeguards)

    @property
    def attacked(self) -> Recipe | None:
        """What attacks meet: the recipe without repairs, which are made after them."""
        kept = tuple(one for one in self.safeguards if not one.repairs)
        return replace(self, safeguards=kept) if self.steps or kept else None

    @property
    def repairs(self) -> tuple[Applied, ...]:
        """Safeguards that are fitted on what an attack has left."""
        return tuple(one for one in self.safeguards if one.repairs)

    @property
    def at_provider(self) -> bool:
        """Whether somebody who trains it at the provider meets a safeguard there."""
        return any(Stage.TRAINING in one.safeguard.stages for one in self.safeguards)


def built_name(subject: Subject, name: str) -> str:
    """Reference of the defended model: of a built one it also says which subject it is."""
    return f"{subject.model}+{name}" if subject.build or subject.unfitted else subject.model


def built_card(base: SubjectCard, recipe: Recipe) -> SubjectCard:
    """The base's card under a digest that depends on the recipe."""
    steps = [step.model_dump(mode="json", by_alias=True) for step in recipe.steps]
    made = [base.digest, steps, *(one.plain for one in recipe.safeguards)]
    return base.model_copy(update={"digest": content_id("built", made)})
