"""The true share behind a judge's labels: bounds for verdicts, estimates for display.

`yes` of `n` are labels; `bound` is how they are bounded by themselves, for n fixed beforehand or
`sequence_upper` and `sequence_lower` where reading stopped early. People's labels are the truth.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

from threatspec.statistics._agreement import Agreement
from threatspec.statistics._binomial import check_counts, lower_bound, upper_bound
from threatspec.statistics._interval import Interval

__all__ = [
    "Estimate",
    "Recalls",
    "audited_lower",
    "audited_upper",
    "calibrated_lower",
    "calibrated_upper",
    "plug_in",
    "ppi",
    "ppi_plus",
]

Bound = Callable[[int, int, float], float]


@dataclass(frozen=True, slots=True)
class Recalls:
    """How a judge labelled replies whose truth is known.

    Of `positives` it found so many, of `negatives` it rejected so many. Raises ValueError for more
    than there are.
    """

    found: int
    positives: int
    rejected: int
    negatives: int

    def __post_init__(self) -> None:
        check_counts(self.found, self.positives)
        check_counts(self.rejected, self.negatives)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A share and its standard error. For display only: both come from large samples."""

    value: float
    error: float

    def interval(self, alpha: float) -> Interval:
        """Normal limits within 0 and 1, one-sided alpha at each end.

        Everything, if the error is 0: that nothing varied shows nothing.
        """
        if self.error <= 0:
            return Interval(0.0, 1.0)
        spread = -NormalDist().inv_cdf(alpha) * self.error
        return Interval(max(0.0, self.value - spread), min(1.0, self.value + spread))


def audited_upper(
    yes: int, n: int, omitted: int, negatives: int, alpha: float, bound: Bound = upper_bound
) -> float:
    """Upper bound at level 1 - alpha on the true share, from an audit of the judge's negatives.

    Of `negatives` drawn at random from the replies labelled no, people found `omitted` to be yes.
    True are at most the yes labels and what is omitted: two bounds at alpha / 2 each, added.
    """
    omission = upper_bound(omitted, negatives, alpha / 2)
    return min(1.0, bound(yes, n, alpha / 2) + omission)


def audited_lower(
    yes: int, n: int, confirmed: int, positives: int, alpha: float, bound: Bound = lower_bound
) -> float:
    """Lower bound at level 1 - alpha on the true share, from an audit of the judge's positives.

    Of `positives` drawn at random from the replies labelled yes, people found `confirmed` to be
    so. True are at least those among the yes labels: two bounds at alpha / 2 each, multiplied.
    """
    precision = lower_bound(confirmed, positives, alpha / 2)
    return bound(yes, n, alpha / 2) * precision


def calibrated_upper(
    yes: int, n: int, recalls: Recalls, alpha: float, bound: Bound = upper_bound
) -> float:
    """Upper bound at level 1 - alpha on the true share, from recalls known beforehand.

    Rogan & Gladen 1978 at the worst of three exact bounds at alpha / 3 each:
    (w_U + sp_U - 1) / (se_L + sp_U - 1). 1 unless se_L + sp_L > 1: no better than a coin, as far
    as is known. Never below what so many labels could tell from 0. Golden values in the tests.
    """
    least_se, least_sp = _least(recalls, alpha / 3)
    if least_se + least_sp <= 1:
        return 1.0
    sp = upper_bound(recalls.rejected, recalls.negatives, alpha / 3)
    corrected = (bound(yes, n, alpha / 3) + sp - 1) / (least_se + sp - 1)
    return min(1.0, max(corrected, bound(0, n, alpha / 3)))


def calibrated_lower(
    yes: int, n: int, recalls: Recalls, alpha: float, bound: Bound = lower_bound
) -> float:
    """Lower bound at level 1 - alpha on the true share: (w_L + sp_L - 1) / (se_U + sp_L - 1).

    As `calibrated_upper`; 0 unless se_L + sp_L > 1, and never above what could be told from 1.
    """
    least_se, least_sp = _least(recalls, alpha / 3)
    if least_se + least_sp <= 1:
        return 0.0
    se = upper_bound(recalls.found, recalls.positives, alpha / 3)
    corrected = (bound(yes, n, alpha / 3) + least_sp - 1) / (se + least_sp - 1)
    return max(0.0, min(corrected, bound(n, n, alpha / 3)))


def _least(recalls: Recalls, alpha: float) -> tuple[float, float]:
    """Lower bounds on the recall of yes (sensitivity) and of no (specificity)."""
    se = lower_bound(recalls.found, recalls.positives, alpha)
    return se, lower_bound(recalls.rejected, recalls.negatives, alpha)


def plug_in(yes: int, n: int, recalls: Recalls) -> Estimate:
    """The share of Rogan & Gladen 1978 with the error of Lee et al., arXiv 2511.21140.

    p = (w + sp - 1) / (se + sp - 1) within 0 and 1, and Var = (w(1-w)/n + p² se(1-se)/m1 +
    (1-p)² sp(1-sp)/m0) / (se + sp - 1)². Raises ValueError if there are no labels of one kind, or
    se + sp is not above 1.
    """
    check_counts(yes, n)
    if min(n, recalls.positives, recalls.negatives) == 0:
        raise ValueError(f"an estimate needs labels of every kind, but got {n} and {recalls}")
    w, se, sp = yes / n, recalls.found / recalls.positives, recalls.rejected / recalls.negatives
    if se + sp <= 1:
        raise ValueError(f"both recalls must add up to more than 1, but got {se} and {sp}")
    p = min(1.0, max(0.0, (w + sp - 1) / (se + sp - 1)))
    by_recall = p * p * se * (1 - se) / recalls.positives
    by_rejection = (1 - p) ** 2 * sp * (1 - sp) / recalls.negatives
    return Estimate(p, math.sqrt(w * (1 - w) / n + by_recall + by_rejection) / (se + sp - 1))


def ppi(labelled: Agreement, yes: int, n: int) -> Estimate:
    """Prediction-powered share: that of the judge on n more replies, plus what people correct.

    `labelled` are people (first) and judge (second) on a random sample of the same replies.
    Angelopoulos et al. 2023: mean f + mean (Y - f), Var = var(f)/n + var(Y - f)/m.
    """
    return _prediction_powered(labelled, yes, n, 1.0)


def ppi_plus(labelled: Agreement, yes: int, n: int) -> Estimate:
    """As `ppi`, the judge weighted by Cov(Y, f) / ((1 + m/n) Var f) within 0 and 1.

    PPI++, arXiv 2311.01453: an unhelpful judge costs nothing.
    """
    check_counts(yes, n)
    m, judged = labelled.items, labelled.both_yes + labelled.second_only
    truth = labelled.both_yes + labelled.first_only
    spread = judged * (m - judged) * (1 + m / n) if n else 0.0
    weight = (m * labelled.both_yes - truth * judged) / spread if spread else 0.0
    return _prediction_powered(labelled, yes, n, min(1.0, max(0.0, weight)))


def _prediction_powered(labelled: Agreement, yes: int, n: int, weight: float) -> Estimate:
    check_counts(yes, n)
    if n == 0:
        raise ValueError("an estimate needs replies beside the labelled ones, but got none")
    f, m = yes / n, labelled.items
    truth = (labelled.both_yes + labelled.first_only) / m
    judged = (labelled.both_yes + labelled.second_only) / m
    covariance = labelled.both_yes / m - truth * judged
    rest = truth * (1 - truth) + weight**2 * judged * (1 - judged) - 2 * weight * covariance
    value = truth + weight * (f - judged)
    variance = weight**2 * f * (1 - f) / n + max(0.0, rest) / m
    return Estimate(min(1.0, max(0.0, value)), math.sqrt(variance))
