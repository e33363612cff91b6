"""The resident trainer: what was asked for is what happens, and it is all written down."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from threatspec.errors import ThreatspecError
from threatspec.measures import benchmark
from threatspec.records import ArtefactStore, Budget, Spend, Stream
from threatspec.subjects import describe
from threatspec.subjects._resident import ResidentSubject
from threatspec.training import (
    Adapter,
    BudgetExceeded,
    Hyperparameters,
    Meter,
    TrainingJob,
    TrainingPolicy,
    TrainingRow,
    Trajectory,
    forward_flops,
    learning_rate,
    training_flops,
)
from threatspec.training._batches import batches, collate, encode
from threatspec.training._resident import ResidentTrainer

SEEDS = {Stream.ORDER: 3, Stream.INIT: 4, Stream.TRAIN: 5}


@pytest.fixture(scope="module")
def subject() -> ResidentSubject:
    return ResidentSubject.load("specimen:shallow", threads=1)


def rows(count: int) -> tuple[TrainingRow, ...]:
    items = benchmark("specimen/restricted", Path()).items("attack_train")[:count]
    return tuple(TrainingRow(id=i.id, prompt=i.prompt, answer=i.answer) for i in items)


def train(
    subject: ResidentSubject,
    folder: Path,
    *,
    meter: Meter | None = None,
    policy: TrainingPolicy | None = None,
    seeds: dict[Stream, int] = SEEDS,
    checkpoints: tuple[int, ...] = (),
    count: int = 10,
    **hyper: Any,
) -> Trajectory:
    settings = {"lr": 1e-4, "steps": 4, "batch_size": 5, **hyper}
    job = TrainingJob(
        rows=rows(count),
        hyperparameters=Hyperparameters(**settings),
        seeds=seeds,
        checkpoints=checkpoints,
    )
    trainer = ResidentTrainer(subject, ArtefactStore(folder))
    [trajectory] = trainer.train([job], policy or TrainingPolicy(), meter or Meter())
    return trajectory


@pytest.mark.parametrize(
    "lora",
    [None, Adapter(options={"r": 2, "lora_dropout": 0.1, "target_modules": "all-linear"})],
    ids=["full", "lora"],
)
def test_equal_seeds_give_equal_weights(
    subject: ResidentSubject, tmp_path: Path, lora: Adapter | None
) -> None:
    first, second = (train(subject, tmp_path, adapter=lora) for _ in range(2))
    assert first.last == second.last
    assert first.realised == second.realised


@pytest.mark.parametrize("stream", [Stream.ORDER, Stream.INIT, Stream.TRAIN])
def test_every_seed_stream_matters(
    subject: ResidentSubject, tmp_path: Path, stream: Stream
) -> None:
    lora = Adapter(options={"r": 2, "lora_dropout": 0.1, "target_modules": "all-linear"})
    base = train(subject, tmp_path, adapter=lora)
    other = train(subject, tmp_path, adapter=lora, seeds={**SEEDS, stream: 99})
    assert base.last != other.last


def test_realised_says_what_happened(subject: ResidentSubject, tmp_path: Path) -> None:
    done = train(subject, tmp_path, schedule="linear", warmup_steps=2).realised
    assert (done.backend, done.steps, done.rows) == ("resident", 4, 10)
    assert done.lr == pytest.approx((0.0, 5e-5, 1e-4, 5e-5))
    assert done.trainable == subject.card.parameters
    # ten words and the end of the turn in each of five answers
    assert done.loss_tokens == (55,) * 4
    assert done.weight_delta > 0
    assert done.probe_after < done.probe_before
    assert all(norm > 0 for norm in done.grad_norm)


@pytest.mark.parametrize(
    "lora", [None, Adapter(options={"r": 2, "target_modules": "all-linear"})], ids=["full", "lora"]
)
def test_learning_rate_zero_moves_nothing(
    subject: ResidentSubject, tmp_path: Path, lora: Adapter | None
) -> None:
    done = train(subject, tmp_path, lr=0.0, adapter=lora).realised
    assert done.weight_delta == 0
    assert done.probe_after == done.probe_before
    assert done.steps == 4


def test_weight_delta_is_the_distance_of_the_checkpoint(
    subject: ResidentSubject, tmp_path: Path
) -> None:
    done = train(subject, tmp_path)
    after = ArtefactStore(tmp_path).load(done.last.artefact)
    own = dict(subject.model.named_parameters())
    squares = sum(float((after[n] - own[n].detach()).double().square().sum()) for n in after)
    assert done.realised.weight_delta == pytest.approx(squares**0.5, rel=1e-5)


def test_checkpoints_lie_on_one_trajectory(subject: ResidentSubject, tmp_path: Path) -> None:
    whole = train(subject, tmp_path, checkpoints=(2,))
    part = train(subject, tmp_path, steps=2)
    assert sorted(whole.checkpoints) == [2, 4]
    assert whole.checkpoints[2] == part.last


def test_prefixes_carry_no_loss(subject: ResidentSubject) -> None:
    [row] = encode(
        subject,
        [TrainingRow(id="a", prompt="b", prefix="sure here", answer="is how", weight=0.5)],
    )
    batch = collate([row], pad=0)
    assert batch.weights[0].tolist()[-3:] == [0.5] * 3
    assert batch.loss_tokens == 3
    assert batch.positions[0].tolist()[-4:] == [-1, 0, 1, 2]


@given(st.integers(1, 20), st.integers(1, 25), st.integers(1, 40), st.booleans(), st.integers(0, 9))
def test_no_row_comes_again_before_all_have_come(
    count: int, size: int, steps: int, shuffle: bool, seed: int
) -> None:
    hyper = Hyperparameters(lr=0.1, steps=steps, batch_size=size, shuffle=shuffle)
    drawn = list(itertools.chain.from_iterable(batches(count, hyper, seed)))
    assert len(drawn) == steps * min(size, count)
    for start in range(0, len(drawn) - count + 1, count):
        assert sorted(drawn[start : start + count]) == list(range(count))
    if not shuffle:
        assert drawn == [i % count for i in range(len(drawn))]


def test_epochs_are_shuffled_anew() -> None:
    hyper = Hyperparameters(lr=0.1, steps=2, batch_size=20)
    first, second = batches(20, hyper, 0)
    assert sorted(first) == sorted(second)
    assert first != second


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
@pytest.mark.parametrize("warmup", [0, 1, 7])
def test_schedules_are_those_of_transformers(schedule: Any, warmup: int) -> None:
    from transformers import get_scheduler

    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    name = "constant_with_warmup" if schedule == "constant" else schedule
    theirs = get_scheduler(name, optimizer, num_warmup_steps=warmup, num_training_steps=20)
    hyper = Hyperparameters(lr=0.3, steps=20, batch_size=1, schedule=schedule, warmup_steps=warmup)
    for step in range(20):
        assert learning_rate(step, hyper) == pytest.approx(theirs.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        theirs.step()


def test_a_run_stops_before_the_step_that_its_budget_does_not_cover(
    subject: ResidentSubject, tmp_path: Path
) -> None:
    meter = Meter(Budget(steps=3))
    with pytest.raises(BudgetExceeded) as stopped:
        train(subject, tmp_path, meter=meter)
    assert stopped.value.code == "TS-BUDGET-OVERRUN"
    assert stopped.value.spend.steps == 3
    assert not list(tmp_path.glob("*.safetensors"))


def test_steps_bound_each_run_and_flops_the_whole_pass() -> None:
    meter = Meter(Budget(steps=2, flops=5.0))
    for _ in range(2):
        meter.begin_run()
        meter.charge(Spend(steps=2, flops=2.0))
    meter.begin_run()
    with pytest.raises(BudgetExceeded, match="FLOPs"):
        meter.charge(Spend(steps=1, flops=2.0))
    assert meter.spend == Spend(steps=4, flops=4.0)


def test_the_meter_charges_by_the_published_formula(
    subject: ResidentSubject, tmp_path: Path
) -> None:
    meter = Meter()
    train(subject, tmp_path, meter=meter, steps=1)
    [encoded] = [collate(encode(subject, rows(10)), 0)]
    length = encoded.length
    assert meter.spend.tokens == 5 * length
    assert meter.spend.flops == training_flops(subject.card, 5 * length, length)


def test_flops_by_hand() -> None:
    card = describe("specimen:shallow")
    per_token = 2 * card.parameters + 4 * 3 * 96 * 20
    assert forward_flops(card, 100, 20) == 100 * per_token
    assert training_flops(card, 100, 20) == 300 * per_token
    assert training_flops(card, 100, 20, adapter=1000) == 200 * per_token + 6 * 1000 * 100


def test_a_diverging_run_is_an_error_not_a_result(subject: ResidentSubject, tmp_path: Path) -> None:
    with pytest.raises(ThreatspecError, match="must stay finite") as error:
        train(
            subject,
            tmp_path,
            lr=10.0,
            steps=60,
            eps=1e-30,
            adapter=Adapter(options={"r": 2, "lora_alpha": 1e30, "target_modules": "all-linear"}),
        )
    assert error.value.code == "TS-DIVERGED"


def test_adapters_that_match_nothing_are_an_error(subject: ResidentSubject, tmp_path: Path) -> None:
    with pytest.raises(ThreatspecError, match="targets must name"):
        train(
            subject,
            tmp_path,
            adapter=Adapter(options={"r": 2, "target_modules": ["nothing_like_this"]}),
        )
    assert type(subject.model).__name__ == "LlamaForCausalLM"


class OnlyHead(TrainingPolicy):
    """A provider that admits five rows, freezes all but one tensor and undoes each step's rest."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def admit(self, rows: Any) -> Any:
        return rows[:5]

    def mask_gradients(self, model: torch.nn.Module) -> None:
        for name, parameter in model.named_parameters():
            if name != "model.norm.weight" and parameter.grad is not None:
                parameter.grad.zero_()

    def after_step(self, model: torch.nn.Module, step: int) -> None:
        self.steps.append(step)


def test_policies_of_the_provider_are_imposed(subject: ResidentSubject, tmp_path: Path) -> None:
    policy = OnlyHead()
    done = train(subject, tmp_path, policy=policy)
    after = ArtefactStore(tmp_path).load(done.last.artefact)
    own = dict(subject.model.named_parameters())
    moved = {n for n in after if not torch.equal(after[n], own[n].detach())}
    assert moved == {"model.norm.weight"}
    assert done.realised.rows == 5
    assert policy.steps == [1, 2, 3, 4]


def test_rows_that_do_not_fit_are_an_error(subject: ResidentSubject) -> None:
    long = TrainingRow(id="long", prompt="a " * 100, answer="b " * 100)
    with pytest.raises(ThreatspecError, match="row long must fit") as error:
        encode(subject, [long])
    assert error.value.code == "TS-DATA"
