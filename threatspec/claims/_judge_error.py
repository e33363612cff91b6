"""What a judge's labels are worth: bounds on the truth from bounds on the labels.

An audit looks at labelled replies of the very cells that are read; a calibration was made before,
on replies to the same family of attacks. Without either, labels are taken as they are and TS-R5c
keeps the claim from being supported.
"""

from __future__ import annotations

from collections.abc import Callable

from threatspec.schema import Calibration, Model
from threatspec.statistics import (
    Interval,
    Recalls,
    audited_lower,
    audited_upper,
    calibrated_lower,
    calibrated_upper,
)

__all__ = ["Audit", "corrected"]


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


def corrected(
    known: Audit | Calibration, labels: Callable[[float], Interval], alpha: float
) -> Interval:
    """Bounds on the true share, each at 1 - alpha, given those on labels by their level."""

    def least(_yes: int, _n: int, level: float) -> float:
        return labels(level).lower

    def most(_yes: int, _n: int, level: float) -> float:
        return labels(level).upper

    if isinstance(known, Audit):
        return Interval(
            audited_lower(0, 0, known.confirmed, known.positives, alpha, least),
            audited_upper(0, 0, known.omitted, known.negatives, alpha, most),
        )
    recalls = Recalls(known.found, known.positives, known.rejected, known.negatives)
    return Interval(
        calibrated_lower(0, 0, recalls, alpha, least),
        calibrated_upper(0, 0, recalls, alpha, most),
    )
