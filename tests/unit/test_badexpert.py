"""BaDExpert: its scores, its threshold, what it trains, and what it finds and does not find."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.support.backdoors import BLEND, PATCH, Suspect, spec
from threatspec import api
from threatspec.errors import ThreatspecError
from threatspec.records import Ledger, Outcome, Spend, Stream, TrialKind
from threatspec.reports.bundle import Status, open_bundle, verify_bundle, write_bundle
from threatspec.safeguards import SafeguardContext
from threatspec.safeguards._clean_split import clean_split, shifted
from threatspec.safeguards._screening import ScoreScreen, threshold_at, threshold_of
from threatspec.safeguards.badexpert import BadExpertConfig, _auxiliary, _expert, score_of
from threatspec.subjects import Offer, Request, SubjectCard, WeightTamper
from threatspec.testing._bench import Bench
from threatspec.training import TrainingRow, Trajectory
from threatspec.training.classifiers import ClassifierJob

CLASSES = tuple("0123456789")
MODEL = "specimen:mnist-resnet"
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
    with pytest.raises(ThreatspecError, match="TS-SAFEGUARD"):
        threshold_of(scores, 0.5)


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


# the rules by which rates are chosen


def probabilities(accuracies: dict[str | None, float], rows: Sequence[TrainingRow]) -> Any:
    """Of models by artefact that are sure and right about the first so many rows of all."""

    def read(requests: Sequence[Request], artefact: str | None) -> Any:
        found = np.zeros((len(requests), len(CLASSES)), dtype=np.float32)
        right = round(accuracies[artefact] * len(rows))
        for place, one in enumerate(rows):
            answer = CLASSES.index(one.answer)
            found[place, answer if place < right else (answer + 1) % 10] = 1.0
        return found

    return read


def ruled(
    rule: Any, config: BadExpertConfig, accuracies: dict[float, float], own: float = 0.9
) -> tuple[Any, list[ClassifierJob], list[str]]:
    """What a rule chooses if rates lead to `accuracies`, what it asked for, and its warnings; an
    accuracy below 0 is a rate at which training leaves the finite numbers."""
    rows, warned, asked = [row(n) for n in range(20)], list[str](), list[ClassifierJob]()
    known = {f"at {rate:g}": reached for rate, reached in accuracies.items()}
    read = probabilities({None: own, **known}, rows)
    steps = rule(replace(context(rows, warned), probabilities=read), config, rows)
    try:
        job = next(steps)
        while True:
            asked.append(job)
            if accuracies[job.lr] < 0:
                job = steps.throw(ThreatspecError("TS-DIVERGED", "it does"))
                continue
            tamper = WeightTamper(artefact=f"at {job.lr:g}", form="dense")
            job = steps.send(Trajectory({job.steps: tamper}, None, Spend()))  # type: ignore[arg-type]
    except StopIteration as stop:
        return stop.value, asked, warned


def test_the_expert_is_that_which_half_forgot_and_higher_rates_are_not_tried() -> None:
    config = BadExpertConfig(rates=(4e-4, 1e-4, 2e-4, 8e-4))
    (made, told), asked, warned = ruled(
        _expert, config, {1e-4: 0.95, 2e-4: 0.6, 4e-4: 0.25, 8e-4: 0.5}
    )
    assert made == "at 0.0002"
    assert told["expert"] == {"rate": 2e-4, "accuracy": 0.6}
    assert [one["rate"] for one in told["expert_tried"]] == [1e-4, 2e-4, 4e-4]
    assert {one.answer for job in asked for one in job.rows} == {"4"}  # all rows show a 3
    assert {(job.optimizer, job.batch_norm, job.held) for job in asked} == {("adam", "train", ())}
    assert not warned


def test_an_expert_outside_of_the_window_is_told() -> None:
    config = BadExpertConfig(rates=(1e-4, 2e-4, 4e-4))
    (made, _), _, [said] = ruled(_expert, config, {1e-4: 0.95, 2e-4: 0.9, 4e-4: 0.1})
    assert made == "at 0.0002"
    assert said.startswith("TS-SAFEGUARD: no rate of badexpert's expert led to a clean accuracy in")
    assert said.endswith("0.0002 was taken, with 0.900")


def test_the_auxiliary_is_that_of_the_highest_rate_that_comes_back() -> None:
    config = BadExpertConfig(auxiliary_rates=(0.1, 0.4, 0.2, 0.05))
    reached = {0.4: 0.5, 0.2: 0.85, 0.1: 0.9, 0.05: 1.0}
    (made, told), asked, warned = ruled(_auxiliary, config, reached)
    assert made == "at 0.1"
    assert [one["rate"] for one in told["auxiliary_tried"]] == [0.4, 0.2, 0.1]
    assert {one.answer for job in asked for one in job.rows} == {"3"}
    assert {(j.optimizer, j.nesterov, j.momentum, j.weight_decay) for j in asked} == {
        ("sgd", True, 0.9, 1e-4)
    }
    assert not warned
    (made, _), _, [said] = ruled(_auxiliary, config, {**reached, 0.1: 0.8, 0.05: 0.8})
    assert made == "at 0.2"
    assert "led back to 0.900" in said


def test_a_rate_at_which_training_diverges_is_passed_over() -> None:
    config = BadExpertConfig(auxiliary_rates=(0.4, 0.2))
    (made, told), _, _ = ruled(_auxiliary, config, {0.4: -1, 0.2: 0.95})
    assert made == "at 0.2"
    assert told["auxiliary_tried"][0] == {"rate": 0.4, "accuracy": 0.0}
    with pytest.raises(ThreatspecError) as caught:
        ruled(_auxiliary, config, {0.4: -1, 0.2: -1})
    assert caught.value.code == "TS-DIVERGED"


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
    assert BadExpertConfig(auxiliary_steps=50).decay_at == (11, 21, 31, 41)
    assert BadExpertConfig(decays=0).decay_at == ()


# what it finds, and what it does not

SHORT = {"rates": [8e-4], "auxiliary_rates": [0.2]}
"""Rates that the rules choose, so that no other has to be tried."""


def screened(
    folder: Path, model: str, trigger: dict[str, Any] | None, knobs: dict[str, Any]
) -> tuple[Suspect, Any, Any, float]:
    """A suspect, its scores of clean and of marked images, and the threshold."""
    suspect = Suspect(Bench(folder, model), trigger, images=300)
    with suspect.mounted():
        if trigger:
            assert suspect.share_hit() > 0.9
        assert suspect.share_right() > 0.85
        fitted = suspect.fitted("badexpert", knobs)
        read = suspect.scores("badexpert", knobs, fitted)
        clean, marked = np.array(read(suspect.clean)), np.array(read(suspect.marked))
    assert fitted.provided["held_out_fpr"] <= 0.01
    return suspect, clean, marked, fitted.provided["threshold"]


@pytest.mark.parametrize(("trigger", "found"), [(PATCH, 0.9), (BLEND, 0.4)])
def test_triggers_in_a_model_with_batch_norm_are_found(
    tmp_path: Path, trigger: dict[str, Any], found: float
) -> None:
    suspect, clean, marked, threshold = screened(tmp_path, MODEL, trigger, SHORT)
    assert (marked > threshold).mean() > found
    assert (clean > threshold).mean() < 0.06
    assert (clean[:, None] < marked[None, :]).mean() > 0.95
    assert not any("batch norm" in said for said in suspect.warned)


def test_a_clean_model_is_not_accused(tmp_path: Path) -> None:
    suspect, clean, _, threshold = screened(tmp_path, MODEL, None, SHORT)
    assert len(clean) == 300
    rate = 2 / 151  # what the threshold promises of new images; five standard errors above it
    assert (clean > threshold).mean() < rate + 5 * (rate * (1 - rate) / 300) ** 0.5
    assert not suspect.tampers


def test_a_model_without_batch_norm_is_told_to_be_a_weaker_case(tmp_path: Path) -> None:
    suspect = Suspect(Bench(tmp_path, "specimen:mnist-plain"), None, images=20)
    assert suspect.bench.card.batch_norms == 0
    quick = {"rates": [1e-4], "auxiliary_rates": [0.02], "expert_steps": 1, "auxiliary_steps": 5}
    suspect.fitted("badexpert", quick, count=120)
    assert any("has no batch norm" in said for said in suspect.warned)


# a campaign


def test_a_campaign_repairs_screens_and_is_verified(tmp_path: Path) -> None:
    path = tmp_path / "claims.yaml"
    quick = {"rates": [8e-4], "auxiliary_rates": [0.2], "auxiliary_steps": 20, "fpr": 0.3}
    path.write_text(json.dumps(spec("badexpert", **quick)))
    api.run(path, out=tmp_path / "run")
    with Ledger.open(tmp_path / "run") as ledger:
        plan = ledger.plan
        results = ledger.results()
        rows = {name: ledger.rows(name) for name in plan.trials}
    repairs = [t for t in plan.trials.values() if t.kind is TrialKind.REPAIR]
    assert [bool(t.needs) for t in repairs].count(False) == 1  # the untouched subject, too
    for trial in repairs:
        [made] = results[trial.id].tamper["safeguards"]
        assert results[trial.id].artefacts == tuple(made["provided"]["artefacts"])
        assert len(set(made["provided"]["artefacts"])) == 2
    [cell] = [cell for cell in plan.cells.values() if cell.attack and cell.subject != MODEL]
    found = {name: [row for t in ids for row in rows[t]] for name, ids in cell.measures.items()}
    screened = {row.item for row in found["passes"] if row.outcome is Outcome.REJECTED}
    assert screened
    right = {row.item for row in found["accuracy"] if row.outcome is Outcome.YES}
    assert not screened & right
    written = write_bundle(tmp_path / "run", tmp_path / "bundle.tsb")
    with open_bundle(written.path) as bundle:
        verified = verify_bundle(bundle)
    assert not [check for check in verified.checks if check.status is Status.FAIL]
