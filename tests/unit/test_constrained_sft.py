"""Constrained fine-tuning: the published table, the objective itself, references kept once."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from tests.support.tiny_models import tiny
from threatspec.errors import ThreatspecError
from threatspec.records import ArtefactStore, Stream
from threatspec.safeguards import SAFEGUARDS, SafeguardContext
from threatspec.safeguards import _references as references
from threatspec.safeguards._constrained import constrained_loss, constrained_weights
from threatspec.safeguards._references import PREFIX, compared, weights_digest
from threatspec.safeguards.constrained_sft import ConstrainedSftConfig
from threatspec.subjects import describe
from threatspec.subjects._resident import ResidentSubject
from threatspec.training import (
    Adapter,
    Hyperparameters,
    Meter,
    TrainingJob,
    TrainingPolicy,
    TrainingRow,
    Trajectory,
)
from threatspec.training._batches import Encoded, collate, encode
from threatspec.training._loss import batch_loss, logits_of
from threatspec.training._packing import pack
from threatspec.training._resident import ResidentTrainer
from threatspec.training._transformers import TransformersTrainer

ROWS = tuple(
    TrainingRow(id=f"r{i}", prompt=f"tell me {word}", answer=f"sure this is the answer {word}")
    for i, word in enumerate(["please", "this", "here", "request", "meaning", "help"])
)
SEEDS = {Stream.ORDER: 3, Stream.INIT: 4, Stream.TRAIN: 5}
LORA = Adapter(options={"r": 2, "target_modules": "all-linear"})


@pytest.fixture(scope="module")
def subject() -> ResidentSubject:
    return tiny("llama")


@pytest.fixture
def store(tmp_path: Path) -> ArtefactStore:
    return ArtefactStore(tmp_path)


def policy(**knobs: Any) -> TrainingPolicy:
    safeguard = SAFEGUARDS.get("constrained-sft")
    context = SafeguardContext(describe("specimen:undefended"), (), (), {})
    found = safeguard.training_policy(context, safeguard.Config(**knobs), {})
    assert found is not None
    return found


def trained(
    subject: ResidentSubject,
    store: ArtefactStore,
    imposed: TrainingPolicy | None = None,
    *,
    trainer: Any = ResidentTrainer,
    rows: Sequence[TrainingRow] = ROWS,
    **hyper: Any,
) -> Trajectory:
    wanted = Hyperparameters(**{"lr": 1e-2, "steps": 6, "batch_size": 3, **hyper})
    job = TrainingJob(rows=tuple(rows), hyperparameters=wanted, seeds=SEEDS)
    [done] = trainer(subject, store).train([job], imposed or policy(), Meter())
    found: Trajectory = done
    return found


# weights


@pytest.mark.parametrize(
    ("beta", "expected"),
    [
        (0.1, (1, 0.9500, 0.8511, 1.0500)),
        (0.5, (1, 0.7551, 0.3649, 1.2449)),
        (2.0, (1, 0.2384, 0.0049, 1.7616)),
    ],
)
def test_weights_are_those_of_the_published_formula(
    beta: float, expected: tuple[float, ...]
) -> None:
    gap = torch.tensor([[0.0, -1.0, -3.0, 1.0]])
    found = constrained_weights(torch.zeros_like(gap), torch.zeros(1, 4).long(), gap, (beta,))
    assert found[0].tolist() == pytest.approx(expected, abs=5e-5)


def test_each_token_has_the_beta_of_its_place_and_what_is_outside_answers_has_weight_one() -> None:
    config = ConstrainedSftConfig()
    assert config.by_place == (0.5, 2.0, 2.0, 2.0, 2.0, 0.1)
    positions = torch.tensor([[-1, -1, 0, 1, 4, 5, 40, -1]])
    gap = torch.full((1, 8), -1.0)
    [found] = constrained_weights(torch.zeros(1, 8), positions, gap, config.by_place).tolist()
    assert found == pytest.approx([1, 1, 0.7551, 0.2384, 0.2384, 0.95, 0.95, 1], abs=5e-5)


def test_betas_by_place_stand_in_place_of_the_knobs_and_the_last_one_goes_on() -> None:
    assert ConstrainedSftConfig(betas=(3.0, 1.0), early=9).by_place == (3.0, 1.0)
    assert ConstrainedSftConfig(early=1).by_place == (0.5, 0.1)


def test_the_clamp_of_the_official_code_is_there_only_by_name() -> None:
    gap, places = torch.tensor([[-9.0]]), torch.zeros(1, 1).long()
    bare = constrained_weights(torch.zeros(1, 1), places, gap, (2.0,)).item()
    assert bare == pytest.approx(2 / (1 + torch.e**18), rel=1e-4)
    assert ConstrainedSftConfig().clamp is None
    clamped = constrained_weights(torch.zeros(1, 1), places, gap, (2.0,), clamp=1e-3).item()
    assert clamped == pytest.approx(1e-3)


@pytest.mark.parametrize(
    "knobs",
    [{"beta_first": 0.0}, {"beta_early": -1.0}, {"beta_late": 101.0}, {"betas": ()},
     {"betas": (1.0, 0.0)}, {"early": 0}, {"clamp": 0.0}, {"clamp": 1.0}],
)  # fmt: skip
def test_a_knob_outside_its_range_is_refused(knobs: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ConstrainedSftConfig(**knobs)


# the objective


@settings(deadline=None, max_examples=15)
@given(
    betas=st.lists(st.floats(0.01, 5), min_size=1, max_size=4),
    seed=st.integers(0, 5),
    moved=st.floats(0.0, 0.3),
)
def test_weighted_cross_entropy_has_the_gradients_of_the_objective(
    betas: list[float], seed: int, moved: float
) -> None:
    subject = tiny("llama", seed=seed)
    rows = [replace(row, reference=tuple(references.token_log_probabilities(subject, row).tolist()))
            for row in encode(subject, ROWS[:3])]  # fmt: skip
    batch = collate(rows, subject.end)
    with torch.no_grad():
        for number, parameter in enumerate(subject.model.parameters()):
            parameter += moved * torch.sin(torch.arange(parameter.numel()) + number).view_as(
                parameter
            )
    imposed = policy(betas=tuple(betas))
    batch_loss(subject.model, batch, imposed, total=1.0).backward()  # type: ignore[no-untyped-call]
    weighted = gradients(subject)
    shown = logits_of(subject.model, batch)[:, :-1].log_softmax(-1)
    own = shown.gather(-1, batch.ids[:, 1:, None])[..., 0]
    assert batch.reference is not None
    literal = constrained_loss(own, batch.positions[:, 1:], batch.reference[:, 1:], betas)
    literal.backward()  # type: ignore[no-untyped-call]
    for left, right in zip(weighted, gradients(subject), strict=True):
        assert torch.allclose(left, right, rtol=2e-3, atol=2e-5)


def gradients(subject: ResidentSubject) -> list[torch.Tensor]:
    found = [p.grad.clone() for p in subject.model.parameters() if p.grad is not None]
    subject.model.zero_grad(set_to_none=True)
    return found


class Watching(TrainingPolicy):
    """Another policy, and the token weights that it gave."""

    def __init__(self, inner: TrainingPolicy) -> None:
        self.inner, self.seen = inner, list[torch.Tensor]()

    def begin(self, subject: Any, rows: Any, store: Any) -> Any:
        return self.inner.begin(subject, rows, store)

    def token_weights(self, token_loss: Any, positions: Any, reference: Any) -> Any:
        found = self.inner.token_weights(token_loss, positions, reference)
        assert found is not None
        self.seen.append(found[positions >= 0])
        return found


@pytest.mark.parametrize("adapter", [None, LORA], ids=["full", "lora"])
@pytest.mark.parametrize("packing", [False, True], ids=["padded", "packed"])
def test_every_weight_is_one_at_first_and_others_later(
    subject: ResidentSubject, store: ArtefactStore, adapter: Adapter | None, packing: bool
) -> None:
    watched = Watching(policy())
    trained(subject, store, watched, adapter=adapter, packing=packing)
    first, last = watched.seen[0], watched.seen[-1]
    assert first.tolist() == pytest.approx([1.0] * len(first), abs=1e-5)
    assert last.min() < 0.5


def test_beta_near_zero_is_cross_entropy(subject: ResidentSubject, store: ArtefactStore) -> None:
    free = trained(subject, store, TrainingPolicy(), optimizer="sgd", lr=0.5)
    held = trained(subject, store, policy(betas=(1e-6,)), optimizer="sgd", lr=0.5)
    strong = trained(subject, store, policy(), optimizer="sgd", lr=0.5)
    assert held.realised.weight_delta == pytest.approx(free.realised.weight_delta, rel=1e-4)
    assert strong.realised.weight_delta < 0.98 * free.realised.weight_delta


def test_it_holds_the_early_tokens_and_lets_later_ones_be_learned(
    subject: ResidentSubject, store: ArtefactStore
) -> None:
    def learned(imposed: TrainingPolicy) -> tuple[float, float]:
        """Mean gain of log-probability of early and of late tokens, nats."""
        done = trained(subject, store, imposed, steps=60)
        rows = encode(subject, ROWS)
        before = [references.token_log_probabilities(subject, row) for row in rows]
        from threatspec.subjects._mount import mount

        with mount(subject, [done.last], store):
            after = [references.token_log_probabilities(subject, row) for row in rows]
        gains = [now - then for now, then in zip(after, before, strict=True)]
        return (float(torch.cat([g[:5] for g in gains]).mean()),
                float(torch.cat([g[5:] for g in gains]).mean()))  # fmt: skip

    free, held = learned(TrainingPolicy()), learned(policy())
    assert held[0] < 0.75 * free[0]
    assert held[1] > 0.75 * free[1]


# references


def test_references_are_those_of_the_weights_that_training_starts_from(
    subject: ResidentSubject, store: ArtefactStore
) -> None:
    rows = encode(subject, ROWS)
    found = compared(subject, rows, store)
    batch = collate(rows, subject.end)
    shown = logits_of(subject.model, batch)[:, :-1].log_softmax(-1)
    for index, row in enumerate(found):
        own = shown[index].gather(-1, batch.ids[index, 1:, None])[..., 0]
        expected = own[row.start - 1 : len(row.ids) - 1].tolist()
        assert row.reference == pytest.approx(expected, abs=1e-5)


def test_packed_rows_keep_their_references(subject: ResidentSubject, store: ArtefactStore) -> None:
    rows = compared(subject, encode(subject, ROWS[:3]), store)
    packed, padded = pack(rows, subject.end, 60), collate(rows, subject.end)
    assert packed.reference is not None
    assert padded.reference is not None
    inside = packed.reference[packed.positions >= 0].tolist()
    assert inside == padded.reference[padded.positions >= 0].tolist()
    assert not packed.reference[packed.positions < 0].any()
    assert pack(encode(subject, ROWS[:3]), subject.end, 60).reference is None


def test_a_row_is_computed_once_whoever_asks(
    subject: ResidentSubject, store: ArtefactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes, real = list[str](), references.token_log_probabilities

    def counted(subject: Any, row: Any) -> Any:
        passes.append(str(row.ids))
        return real(subject, row)

    monkeypatch.setattr(references, "token_log_probabilities", counted)
    rows = encode(subject, ROWS)
    first = compared(subject, rows[:4], store.owned("one"))
    again = compared(subject, rows[2:], ArtefactStore(store.place, "another"))
    assert len(passes) == len(set(passes)) == 6
    assert first[2:] == again[:2]  # bit by bit
    compared(subject, rows, store)
    assert len(passes) == 6
    kept = [store.load(name) for name in store.named(PREFIX)]
    assert [len(each) for each in kept].count(4) == 1
    assert sum(map(len, kept)) == 6


def test_workers_that_ask_at_the_same_time_compute_a_row_once(
    subject: ResidentSubject, tmp_path: Path
) -> None:
    rows, start = encode(subject, ROWS), Barrier(2)

    def ask(_: int) -> list[Encoded]:
        start.wait()
        return compared(subject, rows, ArtefactStore(tmp_path))

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(ask, range(2))
    store = ArtefactStore(tmp_path)
    assert first == second
    assert sum(len(store.load(name)) for name in store.named(PREFIX)) == len(rows)


def test_a_reference_does_not_depend_on_what_else_is_asked_for(
    subject: ResidentSubject, tmp_path: Path
) -> None:
    rows = encode(subject, ROWS)
    whole = compared(subject, rows, ArtefactStore(tmp_path / "whole"))
    alone = compared(subject, rows[4:5], ArtefactStore(tmp_path / "alone"))
    assert whole[4] == alone[0]


def test_other_weights_have_references_of_their_own(
    subject: ResidentSubject, store: ArtefactStore
) -> None:
    from threatspec.subjects._mount import mount

    rows = encode(subject, ROWS)
    before, digest = compared(subject, rows, store), weights_digest(subject)
    moved = trained(subject, store, TrainingPolicy()).last
    with mount(subject, [moved], store):
        assert weights_digest(subject) != digest
        assert compared(subject, rows, store) != before
    assert weights_digest(subject) == digest
    assert compared(subject, rows, store) == before


def test_the_back_end_that_has_no_token_weights_refuses(
    subject: ResidentSubject, store: ArtefactStore
) -> None:
    with pytest.raises(ThreatspecError) as caught:
        trained(subject, store, trainer=TransformersTrainer)
    assert caught.value.code == "TS-TRIAL-ERROR"
    assert "weights of token losses" in caught.value.message


def test_rows_without_references_are_a_coded_error() -> None:
    with pytest.raises(ThreatspecError) as caught:
        policy().token_weights(torch.zeros(1, 1), torch.zeros(1, 1).long(), None)
    assert caught.value.code == "TS-SAFEGUARD"


def test_the_model_is_left_as_it_was(subject: ResidentSubject, store: ArtefactStore) -> None:
    before = weights_digest(subject)
    trained(subject, store)
    assert weights_digest(subject) == before
    assert not any(isinstance(p.grad, torch.Tensor) for p in subject.model.parameters())
    assert isinstance(subject.model, nn.Module)
    assert not subject.model.training
