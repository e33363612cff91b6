"""Representation rerouting: its loss, its schedule, and what it leaves alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.support.tiny_models import tiny
from threatspec.errors import ThreatspecError
from threatspec.records import ArtefactStore, Stream
from threatspec.safeguards import SAFEGUARDS, SafeguardContext
from threatspec.subjects import WeightTamper
from threatspec.subjects._hidden import watched
from threatspec.subjects._resident import ResidentSubject
from threatspec.subjects._wrap import wrapped
from threatspec.subjects.specimens import benign_items, restricted_items
from threatspec.training import (
    TRAINERS,
    Hyperparameters,
    Meter,
    TrainingJob,
    TrainingPolicy,
    TrainingRow,
    Trajectory,
)
from threatspec.training._adapters import adapter_settings
from threatspec.training._batches import encode
from threatspec.training._loss import logits_of
from threatspec.training._resident import ResidentTrainer
from threatspec.training.objectives.rerouting import Method, coefficients, distance, likeness

SMALL: dict[str, Any] = {"steps": 4, "safety_rows": 3, "benign_rows": 2, "rank": 2, "lr": 1e-2}


def rows(kind: str, count: int) -> list[TrainingRow]:
    items = restricted_items("safeguard_train") if kind == "safety" else benign_items("attack_dev")
    return [
        TrainingRow(id=i.id, prompt=i.prompt, answer=i.answer, refusal=i.refusal)
        for i in items[:count]
    ]


def context(subject: ResidentSubject, seed: int = 1) -> SafeguardContext:
    return SafeguardContext(
        subject=subject.card,
        safety=rows("safety", 5),
        benign=rows("benign", 4),
        seeds=dict.fromkeys(Stream, seed),
    )


def job(subject: ResidentSubject, seed: int = 1, **knobs: Any) -> TrainingJob:
    safeguard = SAFEGUARDS.get("representation-rerouting")
    config = safeguard.Config(**{**SMALL, **knobs})
    asked = next(safeguard.fit(context(subject, seed), config))
    assert isinstance(asked, TrainingJob)
    return asked


def trained(subject: ResidentSubject, folder: Path, asked: TrainingJob) -> Trajectory:
    trainer = TRAINERS.get("resident").on(subject, ArtefactStore(folder))
    [found] = trainer.train([asked], TrainingPolicy(), Meter())
    return found


class opened:
    """The objective of a job on an adapted subject, before the first step."""

    def __init__(self, subject: ResidentSubject, folder: Path, asked: TrainingJob) -> None:
        self.subject, self.asked = subject, asked
        self.trainer = ResidentTrainer(subject, ArtefactStore(folder))

    def __enter__(self) -> Method:
        adapter = self.asked.hyperparameters.adapter
        assert adapter is not None
        torch.manual_seed(0)
        self.context = wrapped(self.subject, adapter_settings(adapter))
        encoded = encode(self.subject, list(self.asked.rows), self.asked.hyperparameters)
        return Method(self.trainer, self.context.__enter__(), self.asked, encoded)

    def __exit__(self, *error: Any) -> None:
        self.context.__exit__(None, None, None)


# the schedule


def test_the_coefficients_begin_at_alpha_and_nothing_and_meet_at_half() -> None:
    assert coefficients(10, 0, 150) == (10, 0)
    assert coefficients(10, 75, 150) == (7.5, 2.5)
    assert coefficients(10, 150, 150) == (5, 5)
    assert coefficients(5, 30, 150) == (4.5, 0.5)


@given(alpha=st.floats(1e-3, 1e3), steps=st.integers(1, 10**6), share=st.floats(0, 1))
def test_the_coefficients_add_up_to_alpha(alpha: float, steps: int, share: float) -> None:
    reroute, retain = coefficients(alpha, int(share * steps), steps)
    assert reroute + retain == pytest.approx(alpha)
    assert reroute >= retain >= 0


# the two terms


def test_opposite_states_are_as_good_as_orthogonal_ones() -> None:
    before = {1: torch.tensor([[[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [9.0, 9.0]]])}
    now = {1: torch.tensor([[[2.0, 0.0], [0.0, 3.0], [-1.0, 0.0], [0.0, 0.0]]])}
    mask = torch.tensor([[True, True, True, False]])
    assert likeness(now, before, mask).item() == pytest.approx(1 / 3)
    assert distance(now, before, mask).item() == pytest.approx((1 + 10**0.5 + 2) / 3)


def test_at_the_start_the_loss_is_the_first_coefficient_alone(tmp_path: Path) -> None:
    subject = tiny("llama")
    with opened(subject, tmp_path, job(subject, nudge=0, alpha=7)) as method:
        assert method.backward(1, [0, 1, 2]) == pytest.approx(7, abs=1e-5)
        assert method.details == {"cosine": [pytest.approx(1, abs=1e-6)], "distance": [0.0]}


def test_at_the_start_there_is_no_slope_unless_something_was_nudged(tmp_path: Path) -> None:
    def slope(nudge: float) -> float:
        subject = tiny("llama")
        with opened(subject, tmp_path, job(subject, nudge=nudge)) as method:
            method.backward(1, [0, 1, 2])
            grads = [p.grad for p in method.model.parameters() if p.grad is not None]
            return max(float(grad.abs().max()) for grad in grads)

    assert slope(0) < 1e-5
    assert slope(1e-2) > 1e-2


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_what_it_compares_with_is_exactly_the_model_without_the_adapter(
    tmp_path: Path, kind: str
) -> None:
    subject = tiny(kind)
    asked, seen = job(subject, nudge=0.1), {}

    def keep(hidden: torch.Tensor) -> torch.Tensor:
        seen[1] = hidden
        return hidden

    with opened(subject, tmp_path, asked) as method:
        parameters = sum(p.numel() for p in method.model.parameters()) - method.size
        batch = method.batch(method.rows)
        before, now = method.states(batch, (1,), adapted=False), method.states(batch, (1,))
    with torch.no_grad(), watched(subject.model, {1: keep}):
        logits_of(subject.model, batch)
    assert torch.equal(before[1], seen[1])
    assert not before[1].requires_grad
    assert not torch.equal(now[1], before[1])
    assert parameters == sum(p.numel() for p in subject.model.parameters())  # no second copy


@pytest.mark.parametrize(("span", "first"), [("answer", 0), ("all", -1)])
def test_the_span_says_which_tokens_are_rerouted(tmp_path: Path, span: str, first: int) -> None:
    subject = tiny("llama")
    asked = job(subject, span=span, alpha=1, nudge=0.3)
    with opened(subject, tmp_path, asked) as method:
        batch = method.batch(method.rows[:3])
        now, before = method.states(batch, (1,)), method.states(batch, (1,), adapted=False)
        mask = (batch.positions >= first) & (batch.mask > 0)
        method.rerouted = (1,)
        method.backward(1, [0, 1, 2])
    assert method.details["cosine"][0] == pytest.approx(
        likeness(now, before, mask).item(), abs=2e-6
    )


# the run


def test_later_blocks_are_left_alone(tmp_path: Path) -> None:
    subject = tiny("llama")
    found = trained(subject, tmp_path, job(subject, layers=(1,)))
    tensors = ArtefactStore(tmp_path).load(found.last.artefact)
    moved = {name.split("layers.")[1][0] for name, t in tensors.items() if "_B" in name and t.any()}
    late = [t for name, t in tensors.items() if "layers.1." in name and "lora_B" in name]
    reach = max(float(t.abs().max()) for t in late)
    assert "0" in moved
    assert reach < 0.006, "only the nudge is there: nothing was trained"


def test_training_lowers_the_cosine_and_equal_seeds_train_equally(tmp_path: Path) -> None:
    subject = tiny("llama")
    runs = [
        trained(subject, tmp_path / str(n), job(subject, seed=seed, steps=30))
        for n, seed in enumerate((1, 1, 2))
    ]
    details = [run.realised.details for run in runs]
    assert details[0] == details[1] != details[2]
    assert runs[0].last == runs[1].last != runs[2].last
    cosines = details[0]["cosine"]
    assert len(cosines) == 30
    assert cosines[-1] < 0.7 < cosines[0]


def test_rows_that_are_kept_include_the_refusals_unless_told_not_to() -> None:
    subject = tiny("llama")
    with_them, without = job(subject), job(subject, retain_refusals=False)
    assert with_them.objective is not None
    assert without.objective is not None
    assert without.objective.beside == tuple(rows("benign", 4))
    refused = with_them.objective.beside[4:]
    assert [row.answer for row in refused] == [row.refusal for row in rows("safety", 5)]
    assert [row.answer for row in with_them.rows] == [row.answer for row in rows("safety", 5)]


# what is refused


def test_the_layers_of_other_depths_are_those_of_the_paper_by_share() -> None:
    config = SAFEGUARDS.get("representation-rerouting").Config()
    assert config.rerouted(32) == (10, 20)
    assert config.rerouted(3) == (1, 2)
    assert config.rerouted(1) == (1,)


def test_a_layer_that_is_not_there_is_refused() -> None:
    with pytest.raises(ThreatspecError, match="from 1 to 2, but 3 is none") as caught:
        job(tiny("llama"), layers=(1, 3))
    assert caught.value.code == "TS-SAFEGUARD"


def test_without_an_adapter_there_is_nothing_to_compare_with(tmp_path: Path) -> None:
    subject = tiny("llama")
    plain = job(subject).model_copy(
        update={"hyperparameters": Hyperparameters(lr=1e-3, steps=1, batch_size=2)}
    )
    with pytest.raises(ThreatspecError, match="must train an adapter") as caught:
        trained(subject, tmp_path, plain)
    assert caught.value.code == "TS-TRIAL-ERROR"


def test_what_a_campaign_mounts_is_plain_weights(tmp_path: Path) -> None:
    from threatspec.runners._asks import Asks
    from threatspec.runners._safeguards import merged
    from threatspec.runners._stopwatch import Stopwatch
    from threatspec.subjects._mount import mount
    from threatspec.training._batches import collate

    subject = tiny("llama")
    asks = Asks(subject, ArtefactStore(tmp_path), Meter(), Stopwatch())
    safeguard = SAFEGUARDS.get("representation-rerouting")
    fitted = asks.drive(safeguard.fit(context(subject), safeguard.Config(**SMALL)))
    [adapter] = fitted.tampers
    dense = merged(asks, adapter)
    assert (adapter.form, dense.form) == ("adapter", "dense")
    batch = collate(encode(subject, rows("benign", 3)), subject.end)

    def logits(tamper: WeightTamper) -> torch.Tensor:
        with torch.no_grad(), mount(subject, (tamper,), asks.store):
            return logits_of(subject.model, batch)

    assert torch.allclose(logits(adapter), logits(dense), atol=1e-4)
    assert merged(asks, dense) == dense
