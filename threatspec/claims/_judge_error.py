"""What a judge's labels are worth: bounds on the truth from bounds on the labels.

An audit looks at labelled replies of the very cells that are read; a calibration was made before,
on replies to the same family of attacks. Without either, labels are taken as they are and TS-R5c
keeps the claim from being supported.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from threatspec.schema import Calibration, Model
from threatspec.statistics import (
    Interval,
    Recalls,
    audited_lower,
    audited_upper,
    calibrated_lower,
    calibrated_upper,
)

__all__ = ["Audit", "Labels", "corrected"]

Bound = Callable[[int, int, float], float]
"""A one-sided bound by successes, units and level."""


class Audit(Model):
    """People's labels of a random sample of the judge's answers; one who cannot tell counts
    against whoever needs it."""

    negatives: int = 0
    """Labelled replies that the judge answered no."""
    omitted: int = 0
    """Of these, how many people did not answer no."""
    positives: int = 0
    """Labelled replies that the judge answered yes."""
    confirmed: int = 0
    """Of these, how many people answered yes."""


@dataclass(frozen=True, slots=True)
class Labels:
    """How often a judge said yes, of how many, and how such counts are bounded."""

    least: int
    most: int
    """With everything unknown."""
    units: int
    lower: Bound
    upper: Bound


def corrected(known: Audit | Calibration, labels: Labels, alpha: float) -> Interval:
    """Bounds on the true share, each at 1 - alpha, given what the judge said."""
    low, high = (labels.least, labels.units), (labels.most, labels.units)
    if isinstance(known, Audit):
        return Interval(
            audited_lower(*low, known.confirmed, known.positives, alpha, labels.lower),
            audited_upper(*high, known.omitted, known.negatives, alpha, labels.upper),
        )
    recalls = Recalls(known.found, known.positives, known.rejected, known.negatives)
    lower = calibrated_lower(*low, recalls, alpha, labels.lower)
    upper = calibrated_upper(*high, recalls, alpha, labels.upper)
    return Interval(min(lower, upper), max(lower, upper))  # three worst cases may cross
