"""`transformers.Trainer` does what a job asks; a replay on two back-ends tells where it differs."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch

from threatspec.errors import ThreatspecError
from threatspec.measures import benchmark
from threatspec.records import ArtefactStore, Budget, Realised, Stream
from threatspec.subjects import describe
from threatspec.subjects._mount import mount
from threatspec.subjects._resident import ResidentSubject
from threatspec.training import (
    TRAINERS,
    Adapter,
    BudgetExceeded,
    Hyperparameters,
    MaskUse,
    Meter,
    Perturbation,
    TrainingBlocked,
    TrainingJob,
    TrainingPolicy,
    TrainingRow,
    Trajectory,
)
from threatspec.training._replay import in_words, realised_differences, schedule_departure

SEEDS = {Stream.ORDER: 3, Stream.INIT: 4, Stream.TRAIN: 5}
PLAIN = Adapter(options={"r": 2, "target_modules": "all-linear"})
LORA = Adapter(options={**PLAIN.options, "lora_dropout": 0.1})


@pytest.fixture(scope="module")
def subject() -> ResidentSubject:
    return ResidentSubject.load("specimen:shallow", threads=1)


@pytest.fixture
def store(tmp_path: Path) -> ArtefactStore:
    return ArtefactStore(tmp_path / "artefacts")


def rows(count: int) -> tuple[TrainingRow, ...]:
    items = benchmark("specimen/restricted", Path()).items("attack_train")[:count]
    return tuple(TrainingRow(id=i.id, prompt=i.prompt, answer=i.answer) for i in items)


def hyper(**settings: Any) -> Hyperparameters:
    return Hyperparameters(**{"lr": 1e-4, "steps": 6, "batch_size": 4, **settings})


def train(
    subject: ResidentSubject,
    store: ArtefactStore,
    backend: str = "transformers",
    *,
    seeds: dict[Stream, int] = SEEDS,
    checkpoints: tuple[int, ...] = (),
    given: tuple[TrainingRow, ...] = rows(10),
    policy: TrainingPolicy | None = None,
    meter: Meter | None = None,
    mask: MaskUse | None = None,
    **settings: Any,
) -> Trajectory:
    job = TrainingJob(
        rows=given,
        hyperparameters=hyper(**settings),
        seeds=seeds,
        checkpoints=checkpoints,
        mask=mask,
    )
    trainer = TRAINERS.get(backend).on(subject, store)
    [done] = trainer.train([job], policy or TrainingPolicy(), meter or Meter())
    return done


def distance(store: ArtefactStore, one: Trajectory, other: Trajectory) -> float:
    first, second = store.load(one.last.artefact), store.load(other.last.artefact)
    assert first.keys() == second.keys()
    squares = sum(float((first[n] - second[n]).double().square().sum()) for n in first)
    return float(squares**0.5)


# the same card on both

CARDS: dict[str, dict[str, Any]] = {
    "constant": {},
    "warm-up and cosine": {"schedule": "cosine", "warmup_steps": 3, "clip_norm": 1.0},
    "linear": {"schedule": "linear"},
    "linear to a floor": {"schedule": "linear", "min_lr": 1e-5},
    "cosine to a floor": {"schedule": "cosine", "min_lr": 1e-5, "warmup_steps": 2},
    "restarts": {"schedule": "cosine-restarts", "cycle_steps": 3},
    "clipped": {"clip_norm": 0.1},
    "loss on all": {"loss_on": "all"},
    "loss on padding": {"loss_on": "padded", "max_length": 32},
    "cut rows": {"max_length": 14},
    "epochs without a rest": {"drop_last": True},
    "accumulated": {"micro_batch": 3},
    "sgd": {"optimizer": "sgd", "momentum": 0.9, "nesterov": True, "lr": 1e-3},
    "rmsprop": {"optimizer": "rmsprop", "lr": 1e-5},
    "adagrad": {"optimizer": "adagrad", "lr": 1e-4},
    "adapter": {"adapter": PLAIN},
    "scaling vectors": {"adapter": Adapter(method="ia3"), "lr": 1e-2},
    "prefix": {"adapter": Adapter(method="prefix", options={"num_virtual_tokens": 3}), "lr": 1e-2},
}  # fmt: skip


@pytest.mark.parametrize("name", CARDS)
def test_both_back_ends_do_the_same_with_the_same_card(
    subject: ResidentSubject, store: ArtefactStore, name: str
) -> None:
    ours, theirs = (train(subject, store, b, **CARDS[name]) for b in ("resident", "transformers"))
    assert realised_differences(ours.realised, theirs.realised) == ()
    assert ours.realised.loss_tokens == theirs.realised.loss_tokens
    for done in (ours.realised, theirs.realised):
        assert schedule_departure(hyper(**CARDS[name]), done) == ""
        assert len(done.lr) == len(done.loss) == len(done.grad_norm) == done.steps == 6
    assert ours.spend == theirs.spend
    # measured on a CPU: 0 for every card
    assert distance(store, ours, theirs) <= 1e-4 * ours.realised.weight_delta


def test_norms_and_biases_do_not_decay_there_and_the_replay_says_so(
    subject: ResidentSubject, store: ArtefactStore
) -> None:
    settings: dict[str, Any] = {"weight_decay": 0.5, "lr": 1e-3, "steps": 20}
    ours, theirs = (train(subject, store, b, **settings) for b in ("resident", "transformers"))
    assert distance(store, ours, theirs) > 0.01 * ours.realised.weight_delta


def test_realised_says_what_happened(subject: ResidentSubject, store: ArtefactStore) -> None:
    done = train(subject, store, steps=4, batch_size=5).realised
    assert (done.backend, done.steps, done.rows) == ("transformers", 4, 10)
    assert done.trainable == subject.card.parameters
    assert done.loss_tokens == (55,) * 4
    assert done.weight_delta > 0
    assert done.probe_after < done.probe_before


def test_accumulation_equals_the_whole_batch(
    subject: ResidentSubject, store: ArtefactStore
) -> None:
    whole = train(subject, store, batch_size=10)
    parts = train(subject, store, batch_size=10, micro_batch=3)
    assert parts.realised.loss_tokens == whole.realised.loss_tokens
    assert parts.realised.loss == pytest.approx(whole.realised.loss, abs=1e-5)
    assert distance(store, whole, parts) <= 1e-4 * whole.realised.weight_delta


# what is left behind


def state(subject: ResidentSubject) -> dict[str, bytes]:
    named = subject.model.named_parameters()
    return {n: p.detach().contiguous().view(torch.uint8).numpy().tobytes() for n, p in named}


@pytest.mark.parametrize("adapter", [None, LORA], ids=["full", "adapter"])
def test_the_subject_is_bit_equal_and_nothing_else_is_disturbed(
    subject: ResidentSubject,
    store: ArtefactStore,
    adapter: Adapter | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    model, before, chance = subject.model, state(subject), random.getstate()
    forward, cached = model.forward, model.config.use_cache
    train(subject, store, adapter=adapter)
    assert subject.model is model
    assert model.forward == forward
    assert model.config.use_cache == cached
    assert not model.training
    assert state(subject) == before
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert random.getstate() == chance
    assert [path.name for path in tmp_path.iterdir()] == ["artefacts"]
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("adapter", [None, LORA], ids=["full", "adapter"])
def test_equal_seeds_give_equal_weights(
    subject: ResidentSubject, store: ArtefactStore, adapter: Adapter | None
) -> None:
    first = train(subject, store, adapter=adapter)
    torch.manual_seed(99)
    second = train(subject, store, adapter=adapter)
    assert first.last == second.last
    assert first.realised == second.realised


@pytest.mark.parametrize("stream", [Stream.ORDER, Stream.INIT, Stream.TRAIN])
def test_every_seed_stream_matters(
    subject: ResidentSubject, store: ArtefactStore, stream: Stream
) -> None:
    base = train(subject, store, adapter=LORA)
    assert base.last != train(subject, store, adapter=LORA, seeds={**SEEDS, stream: 99}).last


def test_checkpoints_lie_on_one_trajectory(subject: ResidentSubject, store: ArtefactStore) -> None:
    whole = train(subject, store, checkpoints=(2,))
    assert sorted(whole.checkpoints) == [2, 6]
    assert whole.checkpoints[2] == train(subject, store, steps=2).last


def test_what_it_leaves_can_be_mounted(subject: ResidentSubject, store: ArtefactStore) -> None:
    done = train(subject, store)
    before = state(subject)
    with mount(subject, [done.last], store):
        assert state(subject) != before
    assert state(subject) == before


def test_a_learning_rate_of_zero_moves_nothing(
    subject: ResidentSubject, store: ArtefactStore
) -> None:
    done = train(subject, store, lr=0.0).realised
    assert (done.steps, done.weight_delta) == (6, 0.0)


# budget, policies, refusals


def test_the_budget_stops_it_before_the_step(
    subject: ResidentSubject, store: ArtefactStore
) -> None:
    before, meter = state(subject), Meter(Budget(steps=4))
    with pytest.raises(BudgetExceeded):
        train(subject, store, meter=meter)
    assert meter.spend.steps == 4
    assert state(subject) == before


class Frozen(TrainingPolicy):
    """Takes every gradient away."""

    def mask_gradients(self, model: torch.nn.Module) -> None:
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.grad.zero_()


class Restoring(TrainingPolicy):
    """Sets one tensor to zero after each step."""

    def after_step(self, model: torch.nn.Module, step: int) -> None:
        with torch.no_grad():
            next(iter(model.parameters())).zero_()


class Closed(TrainingPolicy):
    def admit(self, given: Any) -> Any:
        return ()


class Weighing(TrainingPolicy):
    def token_weights(
        self, token_loss: torch.Tensor, positions: torch.Tensor, reference: torch.Tensor | None
    ) -> torch.Tensor:
        return torch.ones_like(token_loss)


def test_policies_act_where_they_can(subject: ResidentSubject, store: ArtefactStore) -> None:
    assert train(subject, store, policy=Frozen()).realised.weight_delta == 0
    restored = store.load(train(subject, store, policy=Restoring()).last.artefact)
    assert sum(not tensor.any() for tensor in restored.values()) == 1
    with pytest.raises(TrainingBlocked, match="blocked by the provider's policy"):
        train(subject, store, policy=Closed())


LACKS: list[tuple[dict[str, Any], str]] = [
    ({"mask": MaskUse(artefact="art-0", mode="only")}, "mask of the weights"),
    ({"perturbation": Perturbation()}, "perturbation"),
    ({"optimizer": "adadelta"}, "optimizer adadelta"),
    ({"optimizer": "schedule-free-adamw"}, "optimizer schedule-free-adamw"),
    ({"clip_norm": 1.0, "clip": "tensor"}, "clipping by tensor"),
    ({"packing": True}, "packing"),
    ({"schedule": "step-per-epoch"}, "schedule step-per-epoch"),
    ({"policy": Weighing()}, "weights of token losses"),
    ({"given": (*rows(2), rows(1)[0].model_copy(update={"weight": 0.5}))}, "different weights"),
]


@pytest.mark.parametrize(("settings", "what"), LACKS, ids=[what for _, what in LACKS])
def test_what_it_lacks_is_refused_by_name(
    subject: ResidentSubject, store: ArtefactStore, settings: dict[str, Any], what: str
) -> None:
    before = state(subject)
    with pytest.raises(ThreatspecError, match=what) as caught:
        train(subject, store, **settings)
    assert caught.value.code == "TS-TRIAL-ERROR"
    assert state(subject) == before


def test_a_run_that_diverges_is_an_error(subject: ResidentSubject, store: ArtefactStore) -> None:
    before = state(subject)
    with pytest.raises(ThreatspecError, match="must stay finite") as caught:
        train(subject, store, optimizer="sgd", lr=10.0, momentum=0.9, steps=200)
    assert caught.value.code == "TS-DIVERGED"
    assert state(subject) == before


def test_rows_without_weight_carry_no_loss(subject: ResidentSubject, store: ArtefactStore) -> None:
    silent = tuple(row.model_copy(update={"weight": 0.0}) for row in rows(4)[2:])
    done = train(subject, store, given=(*rows(2), *silent), shuffle=False)
    assert done.realised.loss_tokens == (22,) * 6


# the replay


def realised(**changes: Any) -> Realised:
    given = {
        "backend": "resident", "steps": 3, "rows": 10, "trainable": 7, "lr": (0.0, 1e-4, 1e-4),
        "loss": (2.0, 1.0, 0.5), "loss_tokens": (5, 5, 5), "grad_norm": (3.0, 0.5, 0.5),
        "weight_delta": 1.0, "probe_before": 2.0, "probe_after": 0.5, "clipped": 1,
    }  # fmt: skip
    return Realised(**{**given, **changes})


@pytest.mark.parametrize(
    ("changes", "what", "words"),
    [
        ({"steps": 2}, "steps", "optimiser steps: 3 with A, 2 with B"),
        ({"rows": 9}, "rows", "distinct rows: 10 with A, 9 with B"),
        ({"trainable": 0}, "trainable", "parameters that could move: 7 with A, not told with B"),
        (
            {"lr": (0.0, 5e-5, 5e-5)},
            "lr",
            "learning rate: 0.0001 with A, 5e-05 with B (2 steps, first 2)",
        ),
        ({"lr": ()}, "lr", "learning rate: known for 3 steps with A, not told with B"),
        (
            {"loss_tokens": (5, 9, 5)},
            "loss_tokens",
            "tokens with loss: 5 with A, 9 with B (step 2)",
        ),
        ({"clipped": 2}, "clip_events", "clipped steps: 1 with A, 2 with B"),
        ({"frozen": 3}, "frozen", "weights that a mask held: 0 with A, 3 with B"),
        ({"probe_after": 0.6}, "probe", "loss on the rows at the end: 0.5 with A, 0.6 with B"),
        ({"weight_delta": 2.0}, "weights", "distance the weights moved: 1 with A, 2 with B"),
    ],
)
def test_a_replay_tells_each_difference(changes: dict[str, Any], what: str, words: str) -> None:
    found = realised_differences(realised(), realised(**changes))
    assert [difference.what for difference in found] == [what]
    assert in_words(found, "A", "B") == (words,)


def test_a_replay_without_differences_says_nothing() -> None:
    other = realised(lr=(0.0, 1e-4 * (1 + 1e-9), 1e-4), backend="transformers")
    assert realised_differences(realised(), other) == ()


def test_another_warm_up_and_batch_show_in_the_replay(
    subject: ResidentSubject, store: ArtefactStore
) -> None:
    ours = train(subject, store, "resident", warmup_steps=4).realised
    theirs = train(subject, store, warmup_steps=1, batch_size=3).realised
    found = {d.what: d for d in realised_differences(ours, theirs)}
    assert found["lr"].steps == (2, 3, 4)
    assert found["loss_tokens"].steps == (1, 2, 3, 4, 5, 6)


def test_back_ends_say_what_they_are() -> None:
    assert describe("specimen:shallow").parameters > 0
    assert {"resident", "transformers"} <= set(TRAINERS.names())
    assert all(backend.says and backend.kind == name for name, backend in TRAINERS)
