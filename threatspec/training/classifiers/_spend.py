"""What work on classifiers costs, by formula: the same for prediction and for metering."""

from __future__ import annotations

from threatspec.records import Spend
from threatspec.subjects import SubjectCard

__all__ = ["TRIED", "choosing_spend", "classifier_spend", "patch_spend"]

TRIED = 16
"""Random patches by which the units are chosen that a patch is searched for."""


def classifier_spend(card: SubjectCard, steps: int, images: int) -> Spend:
    """So many steps of so many images each: forward and backward, three forward passes in all.

    A network that is smaller than the subject is charged as the subject is: an upper bound.
    """
    return Spend(steps=steps, flops=3.0 * steps * images * card.image_flops)


def patch_spend(card: SubjectCard, steps: int, images: int) -> Spend:
    """A search for a patch: random ones go through the model first, forward alone."""
    return choosing_spend(card, images) + classifier_spend(card, steps, images)


def choosing_spend(card: SubjectCard, images: int) -> Spend:
    """Showing so many images under every random patch."""
    return Spend(flops=float(TRIED * images) * card.image_flops)
