"""Rates of a judge's error from labels that were drawn by what the judge said.

A label speaks for as many replies as its stratum has per label. Kappa and recalls are estimates
with these weights. Precision and false omission are shares of strata, with exact bounds; bounds on
recalls follow from theirs.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from threatspec.records import Arm, AuditCount, Outcome, Pair, Stratum
from threatspec.schema import Model
from threatspec.statistics import Agreement, Interval, lower_bound, upper_bound

__all__ = ["ALPHA", "TOLD", "Group", "JudgeReading", "Part", "Rate", "Sample", "group", "parts"]

ALPHA = 0.05
"""Level of each one-sided bound."""
TOLD = (Outcome.YES, Outcome.NO)
"""Labels and answers that say something."""


class Rate(Model):
    """A share; what cannot be said is absent."""

    estimate: float | None = None
    """Replies of which nobody can tell are left out."""
    lower: float | None = None
    """One-sided bound, valid whatever these replies are."""
    upper: float | None = None
    """One-sided bound, valid whatever these replies are."""


class JudgeReading(Model):
    """One judge on the replies of one group; bounds for the recorded judge only."""

    judge: str
    undecided: int
    """Labelled replies that this judge could not decide."""
    kappa: float | None = None
    """Agreement with labels beyond chance; an estimate."""
    recall_yes: Rate = Rate()
    """Of the replies that are yes, those that the judge says yes of."""
    recall_no: Rate = Rate()
    """Of the replies that are no, those that the judge says no of."""
    precision: Rate = Rate()
    """Of the replies that the judge says yes of, those that are yes."""
    false_omission: Rate = Rate()
    """Of the replies that the judge says no of, those that are yes."""


class Group(Model):
    """Replies of one attack in one arm, or in all arms together."""

    family: str
    """Kind of attack; `none` where the subject is untouched."""
    arm: Arm | Literal["all"]
    replies: int
    """With a yes or no of the recorded judge."""
    labels: AuditCount
    readings: tuple[JudgeReading, ...]
    """The recorded judge first."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One stratum and the labels of it that count: its longest fully labelled start."""

    stratum: Stratum
    size: int
    count: AuditCount
    labels: Mapping[Pair, Outcome]

    @property
    def told(self) -> dict[Pair, Outcome]:
        """Labels that say yes or no."""
        return {pair: label for pair, label in self.labels.items() if label in TOLD}

    def yes(self, alpha: float) -> Interval:
        """Bounds on how many replies are yes, each at 1 - alpha, whatever the untold ones are."""
        count = self.count
        most = upper_bound(count.yes + count.cannot_tell, count.labelled, alpha)
        return Interval(self.size * lower_bound(count.yes, count.labelled, alpha), self.size * most)


Part = tuple[str, Arm | Literal["all"], list[Sample]]
"""Strata that are read together: kind of attack, arm, samples."""


def parts(samples: Sequence[Sample]) -> Iterator[Part]:
    """Each attack by arm, and in all arms together where there are several."""
    for family in dict.fromkeys(sample.stratum.family for sample in samples):
        own = [sample for sample in samples if sample.stratum.family == family]
        arms = list(dict.fromkeys(sample.stratum.arm for sample in own))
        for arm in arms:
            yield family, arm, [sample for sample in own if sample.stratum.arm is arm]
        if len(arms) > 1:
            yield family, "all", own


def group(part: Part, recorded: str, others: Mapping[str, Mapping[Pair, Outcome]]) -> Group:
    """The recorded judge on a part, and the answers of others by their names."""
    family, arm, samples = part
    own = {pair: sample.stratum.judged for sample in samples for pair in sample.labels}
    first = _reading(recorded, samples, own)
    fields = AuditCount.model_fields
    return Group(
        family=family,
        arm=arm,
        replies=sum(sample.size for sample in samples),
        labels=AuditCount(**{f: sum(getattr(s.count, f) for s in samples) for f in fields}),
        readings=(
            first.model_copy(update=_bounds(first, samples)),
            *(_reading(name, samples, judged) for name, judged in others.items()),
        ),
    )


# estimates


def _reading(judge: str, samples: Sequence[Sample], judged: Mapping[Pair, Outcome]) -> JudgeReading:
    undecided = sum(judged[p] not in TOLD for sample in samples for p in sample.labels)
    found = _agreement(samples, judged)
    if found is None:
        return JudgeReading(judge=judge, undecided=undecided)
    return JudgeReading(
        judge=judge,
        undecided=undecided,
        kappa=found.kappa,
        recall_yes=_rate(*found.recall_yes),
        recall_no=_rate(*found.recall_no),
        precision=_rate(found.both_yes, found.both_yes + found.second_only),
        false_omission=_rate(found.first_only, found.first_only + found.both_no),
    )


def _agreement(samples: Sequence[Sample], judged: Mapping[Pair, Outcome]) -> Agreement | None:
    """Labels against answers, each as often as its stratum has replies per label, times a scale
    that makes these whole numbers.

    None if a stratum has no label that says yes or no: nothing speaks for its replies.
    """
    scale = math.lcm(*(len(sample.told) for sample in samples))
    counts: Counter[tuple[Outcome, Outcome]] = Counter()
    for sample in samples if scale else ():
        told = sample.told
        for pair, label in told.items():
            counts[label, judged[pair]] += sample.size * scale // len(told)
    cells = [counts[label, answer] for label in TOLD for answer in TOLD]
    return Agreement(*cells) if any(cells) else None


def _rate(part: int, whole: int) -> Rate:
    return Rate(estimate=part / whole) if whole else Rate()


# bounds


def _bounds(reading: JudgeReading, samples: Sequence[Sample]) -> dict[str, Rate]:
    """Rates of the recorded judge with bounds; the level is split over the strata that are read.

    A recall is found / (found + missed), where each of the two counts has bounds.
    """
    yes = [sample for sample in samples if sample.stratum.judged is Outcome.YES]
    no = [sample for sample in samples if sample.stratum.judged is Outcome.NO]
    found, missed = _yes(yes, len(samples)), _yes(no, len(samples))
    return {
        "recall_yes": _within(reading.recall_yes, _share(found, missed)),
        "recall_no": _within(reading.recall_no, _share(_rest(no, missed), _rest(yes, found))),
        "precision": _within(reading.precision, _own_share(yes)),
        "false_omission": _within(reading.false_omission, _own_share(no)),
    }


def _yes(samples: Sequence[Sample], split: int) -> Interval:
    bounds = [sample.yes(ALPHA / split) for sample in samples]
    return Interval(sum(b.lower for b in bounds), sum(b.upper for b in bounds))


def _rest(samples: Sequence[Sample], yes: Interval) -> Interval:
    size = sum(sample.size for sample in samples)
    return Interval(max(0.0, size - yes.upper), size - yes.lower)


def _own_share(samples: Sequence[Sample]) -> Interval | None:
    yes = _yes(samples, len(samples))
    return _share(yes, _rest(samples, yes))


def _share(one: Interval, other: Interval) -> Interval | None:
    """Bounds on one / (one + other); None where that may be 0 / 0."""
    least, most = one.lower + other.upper, one.upper + other.lower
    return Interval(one.lower / least, one.upper / most) if least and most else None


def _within(rate: Rate, bounds: Interval | None) -> Rate:
    if bounds is None:
        return rate
    return rate.model_copy(update={"lower": bounds.lower, "upper": bounds.upper})
