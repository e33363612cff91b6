"""What a judge's labels are worth: bounds on the truth from bounds on the labels.

An audit looks at labelled replies of the very cells that are read; a calibration was made before,
on replies to the same family of attacks. Without either, labels are taken as they are and TS-R5c
keeps the claim from being supported.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from threatspec.schema import Calibration, Model
from threatspec.statistics import Interval, lower_bound, upper_bound

__all__ = ["Audit", "JudgeError"]


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
class JudgeError:
    """Corrects bounds on labels."""

    known: Audit | Calibration

    def corrected(self, labels: Callable[[float], Interval], alpha: float) -> Interval:
        """Bounds on the true share, each at 1 - alpha, given those on labels by their level."""
        if isinstance(self.known, Audit):
            return _audited(self.known, labels(alpha / 2), alpha / 2)
        return _calibrated(self.known, labels(alpha / 3), alpha / 3)


def _audited(audit: Audit, labels: Interval, alpha: float) -> Interval:
    """At most every yes and the omitted among the rest; at least the confirmed among the yes."""
    omission = upper_bound(audit.omitted, audit.negatives, alpha)
    precision = lower_bound(audit.confirmed, audit.positives, alpha)
    return Interval(labels.lower * precision, min(1.0, labels.upper + omission))


def _calibrated(known: Calibration, labels: Interval, alpha: float) -> Interval:
    """Three exact intervals at alpha / 3 each, in the correction of Rogan & Gladen 1978."""
    found, rejected = (known.found, known.positives), (known.rejected, known.negatives)
    recall = Interval(lower_bound(*found, alpha), upper_bound(*found, alpha))
    specific = Interval(lower_bound(*rejected, alpha), upper_bound(*rejected, alpha))
    if recall.lower + specific.lower <= 1:
        return Interval(0.0, 1.0)  # no better than a coin, as far as is known
    upper = (labels.upper + specific.upper - 1) / (recall.lower + specific.upper - 1)
    lower = (labels.lower + specific.lower - 1) / (recall.upper + specific.lower - 1)
    return Interval(min(1.0, max(0.0, lower)), max(0.0, min(1.0, upper)))
