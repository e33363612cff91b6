"""BaDExpert: its scores, its threshold, what it trains, and what it finds and does not find."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from threatspec.errors import ThreatspecError
from threatspec.records import Stream
from threatspec.safeguards import SafeguardContext
from threatspec.safeguards._clean_split import clean_split, shifted
from threatspec.safeguards._screening import ScoreScreen, threshold_at
from threatspec.safeguards.badexpert import BadExpertConfig, score_of
from threatspec.subjects import Offer, Request, SubjectCard
from threatspec.training import TrainingRow

CLASSES = tuple("0123456789")
CARD = SubjectCard(
    ref="path:x", digest="d", parameters=1, classes=CLASSES, image=(28, 28), batch_norms=1,
    offers=frozenset({Offer.CLASSES, Offer.IMAGE}),
)  # fmt: skip


def row(number: int, answer: str = "3", image: str = "mnist5k") -> TrainingRow:
    return TrainingRow(
        id=f"r/{number}", prompt="?", answer=answer, image=f"{image}:{number}" if image else ""
    )


def context(rows: Sequence[TrainingRow], warned: list[str] | None = None) -> SafeguardContext:
    told = [] if warned is None else warned
    return SafeguardContext(
        subject=CARD, safety=(), benign=rows, seeds=dict.fromkeys(Stream, 5), warn=told.append
    )


# scores


def scored(u: float, v: float, score: str = "ensemble", **knobs: float) -> float:
    """Of an input that M calls class 1, with the rest of B and M' on class 0."""
    config = BadExpertConfig.model_validate({"score": score, **knobs})
    subject, expert, auxiliary = (np.array([[1 - p, p]], dtype=np.float64) for p in (0.9, u, v))
    return float(score_of(config, subject, expert, auxiliary)[0])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("u", "v", "wanted"),
    [
        (0.9, 0.1, -2 * 0.1 / 0.9),  # the auxiliary's side is nearer
        (0.99, 0.2, -0.01 / 0.3),  # the expert's side is
        (0.2, 0.05, -0.5),
        (0.0, 0.3, -5.0),  # u is clamped: 2 v / u is 6e7
        (0.7, 0.5, -1 / 0.7),  # b - v is clamped: the other side is 3e7
        (0.7, 0.9, -1.8 / 0.7),
        (1.0, 0.9, -1.0),  # 1 - u is clamped: not 0, which would condemn it
        (1.0, 0.0, 0.0),
        (0.0, 0.0, 0.0),  # as in the formula: whoever loses it wholly is suspect without an expert
    ],
)
def test_golden_values_of_the_ensemble(u: float, v: float, wanted: float) -> None:
    assert scored(u, v) == pytest.approx(wanted, abs=1e-7)


def test_other_weights_of_the_ensemble() -> None:
    assert scored(0.8, 0.1, a=5.0, b=0.2) == pytest.approx(-0.5 / 0.8)
    assert scored(0.95, 0.1, a=5.0, b=0.2) == pytest.approx(-0.05 / 0.1)


@pytest.mark.parametrize(
    ("score", "u", "v", "wanted"),
    [
        ("expert", 0.7, 0.2, 0.7),
        ("auxiliary", 0.7, 0.2, -0.2),
        ("agreement", 0.7, 0.2, 1.0),
        ("agreement", 0.3, 0.2, 0.0),
    ],
)
def test_golden_values_of_the_other_scores(score: str, u: float, v: float, wanted: float) -> None:
    assert scored(u, v, score) == pytest.approx(wanted)


@settings(max_examples=200, deadline=None)
@given(st.floats(0.01, 0.98), st.floats(0.01, 0.98), st.floats(0.001, 0.01))
def test_a_surer_expert_and_a_less_sure_auxiliary_are_more_suspect(
    u: float, v: float, more: float
) -> None:
    assert scored(u + more, v) >= scored(u, v) - 1e-9
    assert scored(u, v + more) <= scored(u, v) + 1e-9
    assert scored(u, v) <= 0


def test_scores_read_the_class_that_the_subject_says() -> None:
    subject = np.eye(3, dtype=np.float32)[[2, 0]]
    expert = np.array([[0.1, 0.2, 0.7], [0.4, 0.3, 0.3]], dtype=np.float32)
    config = BadExpertConfig(score="expert")
    assert score_of(config, subject, expert, expert) == pytest.approx([0.7, 0.4])


# rows


def test_labels_are_shifted_by_one_for_every_class() -> None:
    rows = [row(n, name) for n, name in enumerate(CLASSES)]
    found = shifted(rows, CLASSES)
    assert [one.answer for one in found] == ["1", "2", "3", "4", "5", "6", "7", "8", "9", "0"]
    assert [one.image for one in found] == [one.image for one in rows]
    assert [one.answer for one in shifted(rows[:2], ("0", "b", "1"))] == ["b", "0"]


def test_parts_share_nothing_and_the_order_of_rows_makes_no_difference() -> None:
    rows = [row(n) for n in range(40)]
    found = clean_split(context(rows), 0.25)
    assert len(found.held_out) == 10
    assert sorted(one.id for one in (*found.fitting, *found.held_out)) == sorted(r.id for r in rows)
    mixed = random.Random(1).sample(rows, len(rows))
    assert clean_split(context(mixed), 0.25) == found
    other = replace(context(rows), seeds=dict.fromkeys(Stream, 6))
    assert clean_split(other, 0.25) != found


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([], "must have benign rows"),
        ([row(0)], "must fill two parts"),
        ([row(0), row(1, image="")], "r/1 has none"),
        ([row(0), row(1, "cat")], "r/1 says 'cat'"),
    ],
)
def test_clean_rows_that_cannot_be_used(rows: list[TrainingRow], says: str) -> None:
    with pytest.raises(ThreatspecError, match=says) as caught:
        clean_split(context(rows), 0.5)
    assert caught.value.code == "TS-SAFEGUARD"


# the threshold


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.floats(-5, 5), min_size=1, max_size=300),
    st.floats(0.001, 0.5),
    st.randoms(use_true_random=False),
)
def test_held_out_images_are_rejected_at_most_at_the_target_rate(
    scores: list[float], fpr: float, chooser: random.Random
) -> None:
    found = threshold_at(scores, fpr, context([]))
    assert found.rejected == sum(score > found.value for score in scores)
    assert found.rejected <= fpr * len(scores) + 1e-6
    mixed = chooser.sample(scores, len(scores))
    assert threshold_at(mixed, fpr, context([])) == found


def test_the_threshold_is_no_higher_than_the_rate_asks_for() -> None:
    found = threshold_at([n / 200 for n in range(200)], 0.05, context([]))
    assert (found.rejected, found.images, found.value) == (10, 200, 0.945)
    assert found.plain["held_out_fpr"] == 0.05


def test_too_few_images_for_a_rate_are_told() -> None:
    warned: list[str] = []
    assert threshold_at([0.1, 0.4, 0.2], 0.01, context([], warned)).value == 0.4
    [said] = warned
    assert said.startswith("TS-SAFEGUARD: 3 held-out clean images cannot show")
    assert "which takes 100" in said
    assert "probability 0.25" in said
    threshold_at([0.0] * 100, 0.01, context([], warned))
    assert len(warned) == 1


@pytest.mark.parametrize("scores", [[], [0.1, float("nan")]])
def test_a_threshold_of_nothing_is_an_error(scores: list[float]) -> None:
    with pytest.raises(ThreatspecError) as caught:
        threshold_at(scores, 0.1, context([]))
    assert caught.value.code == "TS-SAFEGUARD"


class Given(ScoreScreen):
    """Scores by item; one item cannot be read."""

    def scores(self, requests: Sequence[Request]) -> Sequence[float]:
        if any(request.item == "broken" for request in requests):
            raise ThreatspecError("TS-IMAGE", "a broken image")
        return [float(request.item) for request in requests]


def asked(*items: str) -> list[Request]:
    return [Request(item=item, prompt="?", image="mnist5k:0") for item in items]


def test_what_is_above_the_threshold_is_rejected_and_what_is_no_number_too() -> None:
    assert Given(0.5).screen(asked("0.4", "0.5", "0.6", "nan")) == [True, True, False, False]


def test_an_image_that_cannot_be_read_stops_no_other() -> None:
    requests = [*asked("0.6", "broken", "0.4", "0.7"), Request(item="text", prompt="?")]
    assert Given(0.5).screen(requests) == [False, True, True, False, True]


# knobs


@pytest.mark.parametrize(
    "knobs",
    [
        {"rates": ()}, {"rates": (0.0,)}, {"window": (0.7, 0.3)}, {"window": (0.5, 1.2)},
        {"fpr": 0.0}, {"b": 0.0}, {"score": "both"}, {"held_out": 1.0},
    ],
)  # fmt: skip
def test_knobs_out_of_range(knobs: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        BadExpertConfig.model_validate(knobs)


def test_the_rate_of_the_auxiliary_falls_in_equal_parts() -> None:
    assert BadExpertConfig(auxiliary_steps=50).decay_at == (10, 20, 30, 40)
    assert BadExpertConfig(decays=0).decay_at == ()
