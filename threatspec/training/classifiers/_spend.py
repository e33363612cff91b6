"""What work on classifiers costs, by formula: the same for prediction and for metering."""

from __future__ import annotations

from threatspec.records import Spend
from threatspec.subjects import SubjectCard

__all__ = ["classifier_spend"]


def classifier_spend(card: SubjectCard, steps: int, images: int) -> Spend:
    """So many steps of so many images each: forward and backward, three forward passes in all.

    A network that is smaller than the subject is charged as the subject is: an upper bound.
    """
    return Spend(steps=steps, flops=3.0 * steps * images * card.image_flops)
