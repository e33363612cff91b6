"""Counts of one measure on one cell, and the bounds that follow from them.

Clusters are units, and what is missing is never assumed away. How bounds are had is part of the
tally, so that predicates, p-values and verdicts have one theory whatever the design.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import StrEnum

from threatspec.claims._judge_error import Audit, Bound, Labels, corrected
from threatspec.schema import Calibration, Model
from threatspec.statistics import (
    Interval,
    betting_lower,
    betting_p,
    betting_upper,
    log_e_refute,
    lower_bound,
    p_exceeds,
    sequence_lower,
    sequence_upper,
    upper_bound,
)

__all__ = ["Basis", "Tally"]


class Basis(StrEnum):
    """How bounds are had."""

    FIXED = "fixed"
    """All units were to be read: Clopper-Pearson."""
    SEQUENTIAL = "sequential"
    """Read until settled: the confidence sequence of the mixture e-process."""
    ENUMERATED = "enumerated"
    """The claim is about exactly these units: the counts themselves."""
    MEAN = "mean"
    """Mean over replicates: betting on the scores of the units."""


def _share_lower(yes: int, units: int, _alpha: float) -> float:
    return yes / units if units else 0.0


def _share_upper(yes: int, units: int, _alpha: float) -> float:
    return yes / units if units else 1.0


_BOUNDS: Mapping[Basis, tuple[Bound, Bound]] = {
    Basis.FIXED: (lower_bound, upper_bound),
    Basis.SEQUENTIAL: (sequence_lower, sequence_upper),
    Basis.ENUMERATED: (_share_lower, _share_upper),
}


class Tally(Model):
    """How many units of one measure are `yes`, and of how many that cannot be said."""

    units: int
    """Clusters of prompts that were to be read."""
    yes: int
    unknown: int
    """Missing or unscorable; counts against the claim and against the attack alike."""
    basis: Basis = Basis.FIXED
    scores: tuple[tuple[float, float], ...] = ()
    """For `mean`: share of replicates that are yes by unit, the unknown as no and as yes."""
    error: Audit | Calibration | None = None
    """What is known of the judge's errors; None if it is exact or the label is what is claimed."""

    @property
    def no(self) -> int:
        """Units that are not `yes` for sure."""
        return self.units - self.yes - self.unknown

    @property
    def rate(self) -> float:
        """Share of `yes` among all units; unknown ones count as no. For display."""
        return self.yes / self.units if self.units else 0.0

    def bounds(self, alpha: float) -> Interval:
        """One-sided bounds, each at 1 - alpha, the unknown at their worst."""
        labels = self._labels()
        if self.error is not None:
            return corrected(self.error, labels, alpha)
        lower = labels.lower(labels.least, labels.units, alpha)
        upper = labels.upper(labels.most, labels.units, alpha)
        return Interval(min(lower, upper), max(lower, upper))  # the best bets may cross

    def _labels(self) -> Labels:
        """What the judge said."""
        lower, upper = _BOUNDS.get(self.basis, (self._bet_lower, self._bet_upper))
        return Labels(self.yes, self.yes + self.unknown, self.units, lower, upper)

    def _bet_lower(self, _yes: int, _units: int, alpha: float) -> float:
        return betting_lower(tuple(low for low, _ in self.scores), alpha)

    def _bet_upper(self, _yes: int, _units: int, alpha: float) -> float:
        return betting_upper(tuple(high for _, high in self.scores), alpha)

    def p_above(self, limit: float) -> float | None:
        """The smallest level at which the lower bound exceeds `limit`; None if it has no formula.

        What inverting `bounds` gives, at the cost of one tail.
        """
        if self.error is not None:
            return None
        match self.basis:
            case Basis.FIXED:
                return p_exceeds(self.yes, self.units, limit) if 0 <= limit <= 1 else None
            case Basis.SEQUENTIAL if 0 < limit < 1 and self.units:
                return math.exp(-log_e_refute(self.yes, self.units - self.yes, limit))
            case Basis.MEAN if 0 <= limit <= 1:
                return betting_p(tuple(low for low, _ in self.scores), limit)
        return None

    def p_below(self, limit: float) -> float | None:
        """The smallest level at which the upper bound is less than `limit`."""
        scores = tuple((1 - high, 1 - low) for low, high in self.scores)
        mirrored = self.model_copy(update={"yes": self.no, "scores": scores})
        return mirrored.p_above(1 - limit)
