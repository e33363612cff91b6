"""Subjects that are built before anything is asked of them: a base and the steps of its recipe."""

from __future__ import annotations

from dataclasses import dataclass

from threatspec.campaign._seeds import replicate_seeds
from threatspec.records import Stream
from threatspec.schema import AdaptStep, MergeStep, Subject, content_id
from threatspec.subjects import SubjectCard

__all__ = ["Recipe", "built_card", "built_name"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a subject is built: once, with seeds of its own."""

    steps: tuple[AdaptStep | MergeStep, ...]
    seeds: dict[Stream, int]

    @classmethod
    def of(cls, subject: Subject) -> Recipe | None:
        """None if the subject is its model as it is."""
        if not subject.build:
            return None
        return cls(subject.build, replicate_seeds(subject.build_seed, "build", Stream))


def built_name(subject: Subject, name: str) -> str:
    """Reference of the defended model: of a built one it also says which subject it is."""
    return f"{subject.model}+{name}" if subject.build else subject.model


def built_card(base: SubjectCard, recipe: Recipe) -> SubjectCard:
    """The base's card under a digest that depends on the recipe."""
    steps = [step.model_dump(mode="json", by_alias=True) for step in recipe.steps]
    return base.model_copy(update={"digest": content_id("built", [base.digest, steps])})
