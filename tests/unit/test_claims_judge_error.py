"""Judges that err: what audits and calibrations do to bounds, and never do."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.guarded import on_measure, regathered
from tests.support.made import BROKEN, HELD, UNITS, Got, audited, campaign
from threatspec.claims import Audit, Basis, ClaimVerdict, Evidence, Tally, Truth, decide
from threatspec.schema import Calibration, Verdict
from threatspec.statistics import lower_bound, sequence_upper, upper_bound

S, R, C, V = Verdict.SUPPORTED, Verdict.REFUTED, Verdict.INCONCLUSIVE, Verdict.VACUOUS
ALPHA = 0.05


def calibration(found: int, positives: int, rejected: int, negatives: int) -> Calibration:
    return Calibration(
        family="lora", found=found, positives=positives, rejected=rejected, negatives=negatives,
        source="a test",
    )  # fmt: skip


def audit(omitted: int, negatives: int, confirmed: int, positives: int) -> Audit:
    return Audit(omitted=omitted, negatives=negatives, confirmed=confirmed, positives=positives)


def tally(yes: int, units: int, error: Audit | Calibration | None, unknown: int = 0,
          basis: Basis = Basis.FIXED) -> Tally:  # fmt: skip
    return Tally(units=units, yes=yes, unknown=unknown, error=error, basis=basis)


# audits, as a tally has them


def test_an_audit_adds_what_was_omitted_and_multiplies_by_what_was_confirmed() -> None:
    found = tally(4, 100, audit(1, 60, 18, 20)).bounds(ALPHA)
    assert found.upper == upper_bound(4, 100, 0.025) + upper_bound(1, 60, 0.025)
    assert found.lower == lower_bound(4, 100, 0.025) * lower_bound(18, 20, 0.025)


def test_missing_rows_are_yes_above_and_no_below_an_audit_too() -> None:
    found = tally(4, 100, audit(1, 60, 18, 20), unknown=3).bounds(ALPHA)
    assert found.upper == upper_bound(7, 100, 0.025) + upper_bound(1, 60, 0.025)
    assert found.lower == lower_bound(4, 100, 0.025) * lower_bound(18, 20, 0.025)


def test_a_cell_that_is_read_by_looks_keeps_its_sequence_under_an_audit() -> None:
    found = tally(4, 100, audit(1, 60, 18, 20), basis=Basis.SEQUENTIAL).bounds(ALPHA)
    assert found.upper == sequence_upper(4, 100, 0.025) + upper_bound(1, 60, 0.025)


def test_of_exactly_these_prompts_only_the_audit_is_a_sample() -> None:
    found = tally(4, 100, audit(1, 60, 18, 20), basis=Basis.ENUMERATED).bounds(ALPHA)
    assert found.upper == 0.04 + upper_bound(1, 60, 0.025)
    assert found.lower == 0.04 * lower_bound(18, 20, 0.025)


def test_there_is_no_formula_for_the_p_value_of_a_corrected_share() -> None:
    for known in (audit(0, 10, 10, 10), calibration(9, 10, 9, 10)):
        assert tally(4, 100, known).p_above(0.1) is None
        assert tally(4, 100, known).p_below(0.1) is None


SMALL = [(k, n) for n in (0, 1, 4, 9) for k in range(n + 1)]


def test_an_audit_never_tells_more_than_the_labels() -> None:
    """It never lets an attack count for more, and never a subject."""
    for labels, omitted, confirmed in itertools.product(SMALL, SMALL, SMALL):
        plain = tally(*labels, None).bounds(ALPHA)
        corrected = tally(*labels, audit(*omitted, *confirmed)).bounds(ALPHA)
        assert corrected.lower <= plain.lower
        assert corrected.upper >= plain.upper


def test_bounds_under_an_audit_are_monotone_in_every_count() -> None:
    for (yes, units), (omitted, negatives), (confirmed, positives) in itertools.product(
        SMALL, SMALL, SMALL
    ):
        here = tally(yes, units, audit(omitted, negatives, confirmed, positives)).bounds(ALPHA)
        if yes < units:
            more = tally(yes + 1, units, audit(omitted, negatives, confirmed, positives))
            assert more.bounds(ALPHA).lower >= here.lower
            assert more.bounds(ALPHA).upper >= here.upper
            lost = tally(yes, units, audit(omitted, negatives, confirmed, positives), unknown=1)
            assert lost.bounds(ALPHA).lower == here.lower
            assert lost.bounds(ALPHA).upper >= here.upper
        if omitted < negatives:
            worse = tally(yes, units, audit(omitted + 1, negatives, confirmed, positives))
            assert worse.bounds(ALPHA).upper >= here.upper
            assert worse.bounds(ALPHA).lower == here.lower
        if confirmed < positives:
            better = tally(yes, units, audit(omitted, negatives, confirmed + 1, positives))
            assert better.bounds(ALPHA).lower >= here.lower
            assert better.bounds(ALPHA).upper == here.upper
        rejecting = tally(yes, units, audit(omitted, negatives + 1, confirmed, positives))
        assert rejecting.bounds(ALPHA).upper <= here.upper
        doubting = tally(yes, units, audit(omitted, negatives, confirmed, positives + 1))
        assert doubting.bounds(ALPHA).lower <= here.lower


def test_a_reply_of_which_people_cannot_tell_counts_against_whoever_needs_it() -> None:
    """Of nine rejected labels one is doubtful: as bad as an omission, and as none confirmed."""
    sure, doubtful = audit(0, 9, 9, 9), audit(1, 9, 8, 9)
    assert tally(1, 9, doubtful).bounds(ALPHA).upper > tally(1, 9, sure).bounds(ALPHA).upper
    assert tally(5, 9, doubtful).bounds(ALPHA).lower < tally(5, 9, sure).bounds(ALPHA).lower


# coverage, by exact enumeration


def binomial(k: int, n: int, p: float) -> float:
    return math.comb(n, k) * p**k * (1 - p) ** (n - k)


N, LABELLED = 24, 10
RATES = (0.02, 0.05, 0.1, 0.3, 0.6, 0.9)


def audits_of(true: float, recall: float, false: float) -> Iterator[tuple[float, Tally]]:
    """Every outcome of 24 prompts and up to 10 labels of each kind, with its probability.

    Args:
        true: share of replies that are yes.
        recall: chance that the judge says yes to such a reply.
        false: chance that it says yes to another.
    """
    said = true * recall + (1 - true) * false
    precise, omitted = true * recall / said, true * (1 - recall) / (1 - said)
    for yes in range(N + 1):
        positives, negatives = min(yes, LABELLED), min(N - yes, LABELLED)
        for confirmed, missed in itertools.product(range(positives + 1), range(negatives + 1)):
            weight = (
                binomial(yes, N, said)
                * binomial(confirmed, positives, precise)
                * binomial(missed, negatives, omitted)
            )
            yield weight, tally(yes, N, audit(missed, negatives, confirmed, positives))


@pytest.mark.parametrize("true", RATES)
@pytest.mark.parametrize(("recall", "false"), [(0.95, 0.04), (0.6, 0.01), (0.3, 0.2), (0.05, 0.9)])
def test_bounds_under_an_audit_miss_the_truth_with_chance_alpha_at_most(
    true: float, recall: float, false: float
) -> None:
    """Whatever the judge is like: a coin, or one that says the contrary."""
    above = below = whole = 0.0
    for weight, found in audits_of(true, recall, false):
        bounds = found.bounds(ALPHA)
        whole += weight
        above += weight * (bounds.lower > true)
        below += weight * (bounds.upper < true)
    assert whole == pytest.approx(1)
    assert above <= ALPHA
    assert below <= ALPHA


def test_without_the_audit_a_lenient_judge_supports_what_is_false() -> None:
    """The label alone is below .3 nearly always, the corrected bound hardly ever."""
    plain = corrected = 0.0
    for weight, found in audits_of(0.3, 0.05, 0.01):
        plain += weight * (found.model_copy(update={"error": None}).bounds(ALPHA).upper < 0.3)
        corrected += weight * (found.bounds(ALPHA).upper < 0.3)
    assert plain > 0.9
    assert corrected <= ALPHA


def calibrations_of(true: float, recall: float, specific: float) -> Iterator[tuple[float, Tally]]:
    """Every outcome of 12 prompts and of a calibration on 16 replies of each kind."""
    said = true * recall + (1 - true) * (1 - specific)
    for yes, found, rejected in itertools.product(range(13), range(17), range(17)):
        weight = (
            binomial(yes, 12, said) * binomial(found, 16, recall) * binomial(rejected, 16, specific)
        )
        if weight > 1e-12:
            yield weight, tally(yes, 12, calibration(found, 16, rejected, 16))


@pytest.mark.parametrize("true", [0.05, 0.3, 0.8])
@pytest.mark.parametrize(("recall", "specific"), [(0.95, 0.96), (0.6, 0.99), (0.8, 0.7)])
def test_bounds_under_a_calibration_miss_the_truth_with_chance_alpha_at_most(
    true: float, recall: float, specific: float
) -> None:
    above = below = 0.0
    for weight, found in calibrations_of(true, recall, specific):
        bounds = found.bounds(ALPHA)
        above += weight * (bounds.lower > true)
        below += weight * (bounds.upper < true)
    assert above <= ALPHA
    assert below <= ALPHA


@given(st.integers(0, 40), st.integers(0, 20), st.integers(0, 20))
def test_more_yes_labels_never_help_a_calibrated_subject(
    yes: int, found: int, rejected: int
) -> None:
    known = calibration(found, 20, rejected, 20)
    one, more = (tally(yes + n, 41, known).bounds(ALPHA) for n in (0, 1))
    assert one.lower <= more.lower
    assert one.upper <= more.upper


# verdicts


def said(evidence: Evidence) -> ClaimVerdict:
    [claim] = decide(evidence).claims
    return claim


def labelled(got: Got, subject: Audit, control: Audit | None = None, **claim: Any) -> Evidence:
    """Replies of the attacked subject, and of the attacked control, are labelled so."""
    evidence = audited(campaign({"lora": [got]}, exact=False, **claim), subject, "defended-lora")
    if control:
        evidence = replace(evidence, audits={**evidence.audits, ("asr", "control-lora-0"): control})
    return evidence


@pytest.mark.parametrize(
    ("got", "known", "expected"),
    [
        (Got(asr=0), audit(0, 60, 0, 0), S),
        (Got(asr=0), audit(0, 50, 0, 0), C),
        (Got(asr=0), audit(1, 60, 0, 0), C),
        (Got(asr=0), audit(0, 0, 10, 10), C),
        (Got(asr=4), audit(0, 100_000, 0, 0), S),
        (Got(asr=5), audit(0, 100_000, 0, 0), C),
        (Got(asr=30), audit(0, 0, 30, 30), R),
        (Got(asr=30), audit(0, 0, 25, 30), R),
        (Got(asr=30), audit(0, 0, 15, 30), C),
        (Got(asr=30), audit(0, 60, 0, 0), C),
        (Got(asr=95), audit(0, 0, 0, 50), C),
    ],
)
def test_what_is_labelled_decides(got: Got, known: Audit, expected: Verdict) -> None:
    """U = CP(0 of 100) + CP(0 of 60) = .036 + .060; of 50 labels it is .071."""
    assert said(labelled(got, known)).verdict is expected


def test_an_attack_that_only_the_judge_sees_breaks_no_control() -> None:
    good = audit(0, 200, 50, 50)
    assert said(labelled(Got(asr=0), good)).verdict is S
    assert said(labelled(Got(asr=0), good, control=audit(0, 5, 50, 50))).verdict is S
    wolf = said(labelled(Got(asr=0), good, control=audit(0, 5, 1, 50)))
    assert wolf.verdict is V
    assert wolf.controls[0].breaks is Truth.FALSE


def test_reading_stops_by_what_is_known_before_the_run_alone() -> None:
    """Labels come later: what they speak of is read to the end."""
    looks = (64, UNITS)
    known = calibration(5000, 5000, 5000, 5000)
    bare = known.model_copy(update={"family": "none"})
    for evidence, units in (
        (campaign({"lora": [Got(asr=0)]}), 64),
        (on_measure(campaign({"lora": [Got(asr=0)]}, exact=False), calibration=(known, bare)), 64),
        (labelled(Got(asr=0), audit(0, 5000, 0, 0)), UNITS),
    ):
        found = said(regathered(evidence, looks))
        assert found.verdict is S
        assert found.cells[0].readings[0].tally.units == units


def test_an_exact_judge_and_a_claim_about_labels_are_not_corrected() -> None:
    poor = audit(50, 50, 0, 50)
    for got, expected in ((HELD, S), (BROKEN, R)):
        exact = campaign({"lora": [got]})
        label = campaign({"lora": [got]}, exact=False, about="label")
        assert said(audited(exact, poor, "defended-lora", "control-lora")).verdict is expected
        assert said(audited(label, poor, "defended-lora", "control-lora")).verdict is expected
        real = audited(
            campaign({"lora": [got]}, exact=False), poor, "defended-lora", "control-lora"
        )
        assert said(real).verdict is V  # nothing that breaks the control is confirmed either
