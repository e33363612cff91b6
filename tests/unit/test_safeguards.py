"""Safeguards that are trained into the weights: what they ask to be trained on, and how often."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from threatspec.errors import ThreatspecError
from threatspec.records import Realised, Spend, Stream
from threatspec.safeguards import SAFEGUARDS, SafeguardConfig, SafeguardContext, Stage
from threatspec.safeguards._mixing import mixed_rows
from threatspec.schema import field_docs
from threatspec.subjects import WeightTamper, describe
from threatspec.training import TrainingJob, TrainingRow, Trajectory

MIXING = ("recovery-augmentation", "refusal-training")
SMALL = {"safety_rows": 3, "benign_rows": 4, "steps": 5}


def text(words: int) -> str:
    return " ".join(f"w{number}" for number in range(words))


def safety_row(number: int, answer: int = 8, refusal: int = 6) -> TrainingRow:
    return TrainingRow(
        id=f"s{number}", prompt=f"p{number}", answer=text(answer), refusal=text(refusal)
    )


def benign_row(number: int, answer: int = 8) -> TrainingRow:
    return TrainingRow(id=f"b{number}", prompt=f"q{number}", answer=text(answer))


def refuse(row: TrainingRow, chooser: random.Random) -> TrainingRow:
    return TrainingRow(id=row.id, prompt=row.prompt, answer=row.refusal)


def context(safety: int = 10, benign: int = 10, seed: int = 1, **row: Any) -> SafeguardContext:
    return SafeguardContext(
        subject=describe("specimen:undefended"),
        safety=[safety_row(number, **row) for number in range(safety)],
        benign=[benign_row(number) for number in range(benign)],
        seeds={Stream.DATA_SUBSET: seed, Stream.TRAIN: 2},
    )


def asked(kind: str, given: SafeguardContext, **config: Any) -> TrainingJob:
    safeguard = SAFEGUARDS.get(kind)
    return next(safeguard.fit(given, safeguard.Config(**{**SMALL, **config})))


# the weight between safety rows and benign rows

lengths = st.lists(st.integers(1, 40), min_size=1, max_size=12)


@given(
    safety=lengths,
    benign=lengths,
    alpha=st.floats(0.01, 0.99),
    sizes=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    seed=st.integers(0, 99),
)
def test_the_share_of_the_safety_rows_is_alpha_in_every_batch_whatever_the_lengths(
    safety: list[int], benign: list[int], alpha: float, sizes: tuple[int, int], seed: int
) -> None:
    rows = mixed_rows(
        [safety_row(number, refusal=length) for number, length in enumerate(safety)],
        [benign_row(number, answer=length) for number, length in enumerate(benign)],
        refuse, alpha=alpha, steps=3, sizes=sizes, seed=seed,
    )  # fmt: skip
    for _ in range(3):
        guarded = list(islice(rows, sizes[0]))
        allowed = list(islice(rows, sizes[1]))
        assert {row.id[0] for row in guarded} == {"s"}
        assert {row.id[0] for row in allowed} == {"b"}
        for part, share in ((guarded, alpha), (allowed, 1 - alpha)):
            carried = sum(row.weight * (len(row.answer.split()) + 1) for row in part)
            assert carried == pytest.approx(share, rel=1e-9)
            assert len({row.weight for row in part}) == 1  # every token of a kind counts the same
    assert next(rows, None) is None


@given(
    counts=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    sizes=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    steps=st.integers(1, 9),
    seed=st.integers(0, 99),
)
def test_every_row_is_used_before_any_is_repeated(
    counts: tuple[int, int], sizes: tuple[int, int], steps: int, seed: int
) -> None:
    safety = [safety_row(number) for number in range(counts[0])]
    benign = [benign_row(number) for number in range(counts[1])]
    rows = list(mixed_rows(safety, benign, refuse, alpha=0.5, steps=steps, sizes=sizes, seed=seed))
    assert len(rows) == steps * sum(sizes)
    for letter, count in zip("sb", counts, strict=True):
        names = [row.id for row in rows if row.id[0] == letter]
        for start in range(0, len(names), count):
            epoch = names[start : start + count]
            assert len(set(epoch)) == len(epoch)


def test_the_order_follows_the_seed_and_is_new_in_every_epoch() -> None:
    def names(seed: int) -> list[str]:
        given = context(safety=20, seed=seed)
        job = asked("refusal-training", given, safety_rows=20, steps=2)
        return [row.id for row in job.rows if row.id[0] == "s"]

    assert names(1) == names(1)
    assert names(1) != names(2)
    assert names(1)[:20] != names(1)[20:]


@pytest.mark.parametrize("kind", MIXING)
@pytest.mark.parametrize("missing", ["safety", "benign"])
def test_a_safeguard_without_rows_of_one_kind_is_an_error(kind: str, missing: str) -> None:
    with pytest.raises(ThreatspecError, match=f"must have {missing} rows"):
        asked(kind, context(**{missing: 0}))


def test_a_safety_row_without_a_refusal_is_an_error() -> None:
    given = context()
    bare = [row.model_copy(update={"refusal": " "}) for row in given.safety]
    with pytest.raises(ThreatspecError, match="must have a refusal"):
        asked("refusal-training", replace(given, safety=bare))


# what is shown


def starts(words: int, most: int, draws: int = 4000) -> Counter[int]:
    """How often each number of words of the complying answer precedes the refusal."""
    given = context(safety=1, benign=1, answer=words)
    job = asked(
        "recovery-augmentation", given, most=most, steps=draws // 100, safety_rows=100,
        benign_rows=1,
    )  # fmt: skip
    shown = [row for row in job.rows if row.id[0] == "s"]
    for row in shown:
        assert row.answer == text(6)
        assert text(words).startswith(row.prefix)
    return Counter(len(row.prefix.split()) for row in shown)


@pytest.mark.parametrize(
    ("words", "most", "longest"), [(8, 100, 8), (8, 3, 3), (8, 8, 8), (1, 5, 1)]
)
def test_half_of_the_refusals_follow_a_start_of_uniform_length(
    words: int, most: int, longest: int
) -> None:
    found = starts(words, most)
    assert found.total() == 4000
    assert set(found) == set(range(longest + 1))
    assert abs(found[0] - 2000) < 160  # five standard deviations
    expected = (4000 - found[0]) / longest
    chi_square = sum((found[k] - expected) ** 2 / expected for k in range(1, longest + 1))
    assert chi_square < 35  # beyond the 0.9999 quantile for up to 7 degrees of freedom


def test_a_start_is_context_only_and_the_benign_rows_have_none() -> None:
    job = asked("recovery-augmentation", context(), steps=50)
    assert any(row.prefix for row in job.rows if row.id[0] == "s")
    assert not any(row.prefix for row in job.rows if row.id[0] == "b")
    assert {row.answer for row in job.rows if row.id[0] == "b"} == {text(8)}


def test_refusal_training_refuses_from_the_first_word() -> None:
    job = asked("refusal-training", context(), steps=50)
    shown = [row for row in job.rows if row.id[0] == "s"]
    assert {(row.prefix, row.answer) for row in shown} == {("", text(6))}


# the protocol


@pytest.mark.parametrize("kind", MIXING)
def test_a_safeguard_has_all_its_parts(kind: str) -> None:
    safeguard = SAFEGUARDS.get(kind)
    assert safeguard.kind == kind
    assert safeguard.says
    assert issubclass(safeguard.Config, SafeguardConfig)
    assert safeguard.stages == {Stage.RELEASE}
    assert safeguard.training_policy(context(), safeguard.Config(), {}) is None
    assert set(field_docs(safeguard.Config)) == set(safeguard.Config.model_fields)


@pytest.mark.parametrize("kind", MIXING)
def test_fit_asks_once_and_returns_the_last_checkpoint(kind: str) -> None:
    safeguard = SAFEGUARDS.get(kind)
    given = context()
    fitting = safeguard.fit(given, safeguard.Config(**SMALL, lr=0.003, alpha=0.4))
    job = next(fitting)
    assert len(job.rows) == 5 * (3 + 4)
    assert job.hyperparameters.lr == 0.003
    assert job.hyperparameters.steps == 5
    assert job.hyperparameters.batch_size == 7
    assert not job.hyperparameters.shuffle  # batches are as they were mixed
    assert job.hyperparameters.adapter is None
    assert job.seeds == given.seeds
    weights = {"s": 0.0, "b": 0.0}
    for row in job.rows:
        weights[row.id[0]] += row.weight * (len(row.answer.split()) + 1)
    assert weights == pytest.approx({"s": 5 * 0.4, "b": 5 * 0.6})

    with pytest.raises(StopIteration) as stopped:
        fitting.send(_trajectory())
    assert stopped.value.value.tampers == (WeightTamper(artefact="art-5", form="dense"),)


def _trajectory() -> Trajectory:
    kept = {step: WeightTamper(artefact=f"art-{step}", form="dense") for step in (5, 2)}
    realised = Realised(
        backend="resident", steps=5, rows=7, trainable=1, lr=(), loss=(), loss_tokens=(),
        grad_norm=(), weight_delta=0.0, probe_before=0.0, probe_after=0.0,
    )  # fmt: skip
    return Trajectory(kept, realised, Spend())


@pytest.mark.parametrize("kind", MIXING)
@pytest.mark.parametrize("knobs", [{"alpha": 0.0}, {"alpha": 1.0}, {"lr": 0.0}, {"steps": 0}])
def test_a_knob_outside_its_range_is_refused(kind: str, knobs: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SAFEGUARDS.get(kind).Config(**knobs)
