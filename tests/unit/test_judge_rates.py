"""Rates of a judge's error against a hand-computed example, an oracle and a known population."""

from __future__ import annotations

import random

import pytest
from scipy.stats import beta

from threatspec.cli._judge_rates import Sample, group
from threatspec.records import Arm, AuditCount, Outcome, Stratum


def sample(
    judged: str, size: int, yes: int, no: int, untold: int = 0, arm: str = "defended"
) -> Sample:
    said = [Outcome.YES] * yes + [Outcome.NO] * no + [Outcome.UNSCORABLE] * untold
    count = AuditCount(labelled=len(said), yes=yes, no=no, cannot_tell=untold, beyond=0)
    stratum = Stratum(measure="asr", family="x", arm=Arm(arm), judged=Outcome(judged))
    pairs = {(f"{arm}-{judged}", str(n)): label for n, label in enumerate(said)}
    return Sample(stratum, size, count, pairs)


def lowest(k: int, n: int, alpha: float) -> float:
    return float(beta.ppf(alpha, k, n - k + 1)) if k else 0.0


def highest(k: int, n: int, alpha: float) -> float:
    return float(beta.ppf(1 - alpha, k + 1, n - k)) if k < n else 1.0


def test_kappa_and_recalls_are_weighted_by_the_sizes_of_the_strata() -> None:
    # 40 replies judged yes, 3 of 4 labelled yes: 30 yes and 10 no. 60 judged no, 1 of 6 labelled
    # yes: 10 yes and 50 no. Agreement .8, by chance .4 * .4 + .6 * .6 = .52.
    part = [sample("yes", 40, 3, 1), sample("no", 60, 1, 5)]
    found = group(("x", Arm.DEFENDED, part), "own", {})
    [reading] = found.readings
    assert found.replies == 100
    assert found.labels == AuditCount(labelled=10, yes=4, no=6, cannot_tell=0, beyond=0)
    assert reading.kappa == pytest.approx((0.8 - 0.52) / 0.48)
    assert reading.recall_yes.estimate == pytest.approx(30 / 40)
    assert reading.recall_no.estimate == pytest.approx(50 / 60)
    assert reading.precision.estimate == pytest.approx(3 / 4)
    assert reading.false_omission.estimate == pytest.approx(1 / 6)
    # Exact bounds of one stratum each.
    assert reading.precision.lower == pytest.approx(lowest(3, 4, 0.05))
    assert reading.precision.upper == pytest.approx(highest(3, 4, 0.05))
    assert reading.false_omission.lower == pytest.approx(lowest(1, 6, 0.05))
    assert reading.false_omission.upper == pytest.approx(highest(1, 6, 0.05))
    # Bounds on recalls read both, each at half of the level.
    found_least, missed_most = 40 * lowest(3, 4, 0.025), 60 * highest(1, 6, 0.025)
    assert reading.recall_yes.lower == pytest.approx(found_least / (found_least + missed_most))
    right, wrong = 60 - missed_most, 40 - found_least
    assert reading.recall_no.lower == pytest.approx(right / (right + wrong))


def test_equal_counts_without_weights_would_say_something_else() -> None:
    even = [sample("yes", 50, 40, 10), sample("no", 50, 10, 40)]
    rare = [sample("yes", 50, 40, 10), sample("no", 5000, 10, 40)]
    one, other = (group(("x", Arm.DEFENDED, part), "own", {}).readings[0] for part in (even, rare))
    assert one.recall_yes.estimate == pytest.approx(0.8)
    assert other.recall_yes.estimate == pytest.approx(40 / 1040)
    assert one.kappa == pytest.approx(0.6)
    assert other.kappa is not None
    assert other.kappa < 0.1


def test_a_reply_of_which_nobody_can_tell_counts_against_either_bound() -> None:
    part = [sample("yes", 40, 8, 1, 1), sample("no", 60, 1, 7, 2)]
    [reading] = group(("x", Arm.DEFENDED, part), "own", {}).readings
    assert reading.precision.estimate == pytest.approx(8 / 9)
    assert reading.precision.lower == pytest.approx(lowest(8, 10, 0.05))
    assert reading.precision.upper == pytest.approx(highest(9, 10, 0.05))
    assert reading.false_omission.estimate == pytest.approx(1 / 8)
    assert reading.false_omission.upper == pytest.approx(highest(3, 10, 0.05))


def test_what_nothing_speaks_for_is_left_out() -> None:
    part = [sample("yes", 40, 0, 0), sample("no", 60, 1, 5)]
    [reading] = group(("x", Arm.DEFENDED, part), "own", {}).readings
    assert reading.kappa is None
    assert reading.precision.estimate is None
    assert (reading.precision.lower, reading.precision.upper) == (0.0, 1.0)
    assert reading.false_omission.upper == pytest.approx(highest(1, 6, 0.05))
    [lone] = group(("x", Arm.DEFENDED, [sample("no", 60, 0, 60)]), "own", {}).readings
    assert lone.kappa == 0
    assert lone.recall_no.estimate == 1
    assert lone.recall_yes.estimate is None
    assert lone.precision == type(lone.precision)()
    [untold] = group(("x", Arm.DEFENDED, [sample("no", 60, 0, 0, 9)]), "own", {}).readings
    assert untold.false_omission.estimate is None
    assert (untold.false_omission.lower, untold.false_omission.upper) == (0.0, 1.0)


def test_arms_together_are_weighted_and_share_the_level() -> None:
    one = [sample("yes", 40, 3, 1), sample("no", 60, 1, 5)]
    part = [*one, sample("yes", 10, 5, 0, arm="control"), sample("no", 90, 0, 9, arm="control")]
    [reading] = group(("x", "all", part), "own", {}).readings
    assert reading.precision.estimate == pytest.approx((30 + 10) / 50)
    assert reading.recall_yes.estimate == pytest.approx((30 + 10) / (30 + 10 + 10))
    least = (40 * lowest(3, 4, 0.025) + 10 * lowest(5, 5, 0.025)) / 50
    assert reading.precision.lower == pytest.approx(least)


def test_another_judge_is_weighted_by_the_stratum_it_was_drawn_from() -> None:
    part = [sample("yes", 40, 3, 1), sample("no", 60, 1, 5)]
    right = {pair: label for s in part for pair, label in s.labels.items()}
    never = dict.fromkeys(right, Outcome.NO)
    unsure = {**right, ("defended-no", "0"): Outcome.UNSCORABLE}
    found = group(("x", Arm.DEFENDED, part), "own", {"right": right, "never": never,
                                                     "unsure": unsure})  # fmt: skip
    _, perfect, silent, doubting = found.readings
    assert (perfect.kappa, perfect.recall_yes.estimate, perfect.precision.estimate) == (1, 1, 1)
    assert perfect.precision.lower is None
    assert (silent.kappa, silent.recall_yes.estimate, silent.recall_no.estimate) == (0, 0, 1)
    assert silent.false_omission.estimate == pytest.approx(40 / 100)
    assert silent.precision.estimate is None
    assert doubting.undecided == 1
    assert doubting.recall_yes.estimate == 1


def test_bounds_hold_as_often_as_they_say() -> None:
    # 2,000 audits of a known population; at a level of .05 at most 5 % may be wrong (99.9 % bound).
    chooser, wrong, audits = (
        random.Random(0),
        {"recall_yes": 0, "recall_no": 0, "precision": 0},
        2000,
    )
    judged_yes = [True] * 70 + [False] * 30
    judged_no = [True] * 40 + [False] * 360
    truth = {"recall_yes": 70 / 110, "recall_no": 360 / 390, "precision": 0.7}
    for _ in range(audits):
        yes, no = (sum(chooser.sample(all_, 30)) for all_ in (judged_yes, judged_no))
        part = [sample("yes", 100, yes, 30 - yes), sample("no", 400, no, 30 - no)]
        [reading] = group(("x", Arm.DEFENDED, part), "own", {}).readings
        for name in wrong:
            rate = getattr(reading, name)
            wrong[name] += not rate.lower <= truth[name]
    assert all(lowest(n, audits, 0.001) <= 0.05 for n in wrong.values()), wrong
