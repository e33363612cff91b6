"""Optimisers, schedules, clipping, dropout, accumulation, memory and masks of the resident loop."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.tiny_models import tiny
from threatspec.errors import ThreatspecError
from threatspec.records import ArtefactStore, Stream
from threatspec.subjects._resident import ResidentSubject
from threatspec.training import (
    Hyperparameters,
    MaskUse,
    Meter,
    TrainingJob,
    TrainingPolicy,
    TrainingRow,
    Trajectory,
    learning_rate,
    steps_per_epoch,
)
from threatspec.training._batches import batches, collate, encode
from threatspec.training._dropout import dropout
from threatspec.training._loss import batch_loss
from threatspec.training._packing import pack
from threatspec.training._resident import ResidentTrainer

SEEDS = {Stream.ORDER: 2, Stream.TRAIN: 3}
ROWS = tuple(
    TrainingRow(id=f"{n}", prompt="how to " + word, answer=f"sure here is {word}", weight=weight)
    for n, (word, weight) in enumerate(
        [("tessik", 1.0), ("zirkam zirkam velmar", 0.5), ("orrin", 2.0), ("the meaning", 1.0),
         ("help", 0.25), ("velmar tessik orrin the help", 1.0), ("meaning", 3.0)]
    )
)  # fmt: skip


@pytest.fixture(scope="module")
def subject() -> ResidentSubject:
    return tiny("llama")


@pytest.fixture
def store(tmp_path: Path) -> ArtefactStore:
    return ArtefactStore(tmp_path)


def trained(
    subject: ResidentSubject, store: ArtefactStore, *, mask: MaskUse | None = None,
    rows: tuple[TrainingRow, ...] = ROWS, checkpoints: tuple[int, ...] = (), **hyper: Any,
) -> Trajectory:  # fmt: skip
    settings = Hyperparameters(**{"lr": 1e-2, "steps": 4, "batch_size": 7, **hyper})
    job = TrainingJob(
        rows=rows, hyperparameters=settings, seeds=SEEDS, mask=mask, checkpoints=checkpoints
    )
    [done] = ResidentTrainer(subject, store).train([job], TrainingPolicy(), Meter())
    return done


def bits(subject: ResidentSubject) -> list[bytes]:
    return [p.detach().numpy().tobytes() for p in subject.model.parameters()]


def distance(store: ArtefactStore, one: Trajectory, other: Trajectory) -> float:
    first, second = store.load(one.last.artefact), store.load(other.last.artefact)
    return sum(float((first[n] - second[n]).double().square().sum()) for n in first) ** 0.5


# optimisers

RULES: dict[str, tuple[type[torch.optim.Optimizer], dict[str, Any], dict[str, Any]]] = {
    "adamw": (torch.optim.AdamW, {"betas": (0.5, 0.9)}, {"betas": (0.5, 0.9)}),
    "adam": (torch.optim.Adam, {}, {}),
    "sgd": (
        torch.optim.SGD, {"momentum": 0.9, "nesterov": True}, {"momentum": 0.9, "nesterov": True},
    ),
    "rmsprop": (torch.optim.RMSprop, {"momentum": 0.5}, {"momentum": 0.5}),
    "adagrad": (torch.optim.Adagrad, {"eps": 1e-8}, {}),
    "adadelta": (torch.optim.Adadelta, {"eps": 1e-8}, {"lr": 1.0}),
}  # fmt: skip


@pytest.mark.parametrize("name", RULES)
def test_an_optimiser_is_that_of_torch(
    subject: ResidentSubject, store: ArtefactStore, name: str
) -> None:
    made, theirs, ours = RULES[name]
    knobs = {"lr": 1e-2, "weight_decay": 0.1, **ours}
    done = trained(subject, store, optimizer=name, **knobs)
    assert done.realised.optimizer == name
    after = store.load(done.last.artefact)
    other = tiny("llama")
    optimizer = made(other.model.parameters(), lr=knobs["lr"], weight_decay=0.1, **theirs)  # type: ignore[call-arg]
    rows = encode(other, ROWS)
    for _ in range(4):
        optimizer.zero_grad()
        batch_loss(other.model, collate(rows, other.end), TrainingPolicy()).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    # rows come in another order, so sums differ in their last bits
    for n, p in other.model.named_parameters():
        assert torch.allclose(after[n], p.detach(), atol=2e-3 if "ada" in name else 2e-4), n


def test_a_schedule_free_optimiser_keeps_the_weights_of_evaluation(
    subject: ResidentSubject, store: ArtefactStore
) -> None:
    from schedulefree import AdamWScheduleFree

    done = trained(subject, store, optimizer="schedule-free-adamw", steps=6, checkpoints=(3,))
    other = tiny("llama")
    optimizer = AdamWScheduleFree(other.model.parameters(), lr=1e-2, foreach=False)
    optimizer.train()
    rows = encode(other, ROWS)
    for _ in range(6):
        optimizer.zero_grad()
        batch_loss(other.model, collate(rows, other.end), TrainingPolicy()).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    trained_at = {n: p.detach().clone() for n, p in other.model.named_parameters()}
    optimizer.eval()
    after = store.load(done.last.artefact)
    for n, p in other.model.named_parameters():
        assert torch.allclose(after[n], p.detach(), atol=1e-3)
    way = sum(float((trained_at[n] - after[n]).square().sum()) for n in after) ** 0.5
    assert way > 0.05  # what gradients are computed at is elsewhere
    alone = trained(subject, store, optimizer="schedule-free-adamw", steps=6)
    assert alone.last == done.last  # reading a checkpoint changes nothing
    early = trained(subject, store, optimizer="schedule-free-adamw", steps=3)
    assert early.last == done.checkpoints[3]


# schedules


def rates(steps: int, rows: int | None = None, **knobs: Any) -> list[float]:
    hyper = Hyperparameters(**{"lr": 0.3, "steps": steps, "batch_size": 4, **knobs})
    return [learning_rate(step, hyper, rows) for step in range(steps)]


@pytest.mark.parametrize("warmup", [0, 5])
@pytest.mark.parametrize(
    ("ours", "theirs", "options"),
    [
        ({"schedule": "cosine", "min_lr": 0.03}, "cosine_with_min_lr", {"min_lr": 0.03}),
        (
            {"schedule": "linear", "min_lr": 0.03}, "polynomial", {"lr_end": 0.03, "power": 1.0},
        ),
        (
            {"schedule": "cosine-restarts", "cycle_steps": 5}, "cosine_with_restarts",
            {"num_cycles": None},
        ),
    ],
)  # fmt: skip
def test_schedules_are_those_of_transformers(
    ours: dict[str, Any], theirs: str, options: dict[str, Any], warmup: int
) -> None:
    from transformers import get_scheduler

    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    cycles = {"num_cycles": (20 - warmup) // 5} if "num_cycles" in options else {}
    wanted = get_scheduler(
        theirs, optimizer, num_warmup_steps=warmup, num_training_steps=20,
        scheduler_specific_kwargs={**options, **cycles},
    )  # fmt: skip
    for rate in rates(20, warmup_steps=warmup, **ours):
        assert rate == pytest.approx(wanted.get_last_lr()[0], abs=1e-9)
        optimizer.step()
        wanted.step()


@pytest.mark.parametrize(("rows", "drop", "each"), [(10, False, 3), (10, True, 2), (3, True, 1)])
def test_the_rate_falls_after_every_epoch(rows: int, drop: bool, each: int) -> None:
    assert steps_per_epoch(rows, 4, drop_last=drop) == each
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    wanted = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.85)
    found = rates(4 * each, rows, schedule="step-per-epoch", drop_last=drop)
    for epoch in range(4):
        assert found[epoch * each : (epoch + 1) * each] == pytest.approx(
            [wanted.get_last_lr()[0]] * each
        )
        optimizer.step()
        wanted.step()


def test_an_epoch_without_its_rest() -> None:
    hyper = Hyperparameters(lr=0.1, steps=6, batch_size=4, drop_last=True)
    drawn = list(batches(10, hyper, 1))
    for first, second in zip(drawn[::2], drawn[1::2], strict=True):
        assert len({*first, *second}) == 8
    assert len({frozenset((*a, *b)) for a, b in zip(drawn[::2], drawn[1::2], strict=True)}) > 1


# clipping and dropout


def test_clipping_by_tensor_and_by_all(subject: ResidentSubject, store: ArtefactStore) -> None:
    free = trained(subject, store, steps=1, optimizer="sgd", lr=1.0)
    norm = free.realised.grad_norm[0]
    assert (free.realised.clipped, free.realised.weight_delta) == (0, pytest.approx(norm, rel=1e-4))
    limit = norm / 10
    whole = trained(subject, store, steps=1, optimizer="sgd", lr=1.0, clip_norm=limit)
    assert whole.realised.clipped == 1
    assert whole.realised.grad_norm == free.realised.grad_norm
    assert whole.realised.weight_delta == pytest.approx(limit, rel=1e-3)
    each = trained(subject, store, steps=1, optimizer="sgd", lr=1.0, clip_norm=limit, clip="tensor")
    assert each.realised.clipped == 1
    assert each.realised.grad_norm[0] == pytest.approx(norm, rel=1e-4)
    after, own = store.load(each.last.artefact), dict(subject.model.named_parameters())
    bare = store.load(free.last.artefact)
    for name, parameter in own.items():
        wanted = min(limit, float((bare[name] - parameter.detach()).norm()))
        assert float((after[name] - parameter.detach()).norm()) == pytest.approx(wanted, rel=1e-3)
    never = trained(subject, store, steps=1, clip_norm=norm * 10)
    assert never.realised.clipped == 0


@pytest.mark.parametrize("kind", ["llama", "gpt2", "phi"])
def test_dropout_of_the_models_own_layers(kind: str, store: ArtefactStore) -> None:
    subject = tiny(kind)
    still = trained(subject, store)
    assert trained(subject, store, dropout=0.0).last == still.last
    noisy = trained(subject, store, dropout=0.4)
    assert noisy.last != still.last
    assert trained(subject, store, dropout=0.4).last == noisy.last
    assert trained(subject, store).last == still.last


def test_dropout_comes_back_and_zero_switches_it_off(store: ArtefactStore) -> None:
    subject = tiny("gpt2", resid_pdrop=0.3, attn_pdrop=0.2)
    before = [m.p for m in subject.model.modules() if isinstance(m, torch.nn.Dropout)]
    quiet = trained(subject, store, dropout=0.0)
    assert [m.p for m in subject.model.modules() if isinstance(m, torch.nn.Dropout)] == before
    assert quiet.last == trained(tiny("gpt2"), store).last
    with dropout(subject.model, 0.5):
        assert {m.p for m in subject.model.modules() if isinstance(m, torch.nn.Dropout)} == {0.5}


# rows


def test_what_carries_loss(subject: ResidentSubject) -> None:
    def weights(**knobs: Any) -> list[float]:
        hyper = Hyperparameters(lr=0.1, steps=1, batch_size=1, **knobs)
        found: list[float] = collate(encode(subject, ROWS[:1], hyper), 0).weights[0].tolist()
        return found

    answer = weights()
    size, start = len(answer), answer.index(1.0)
    assert answer == [0.0] * start + [1.0] * (size - start)
    assert weights(loss_on="all") == [0.0] + [1.0] * (size - 1)
    assert weights(loss_on="padded", max_length=20) == [0.0] + [1.0] * 19
    assert weights(max_length=start + 1) == [0.0] * start + [1.0]


def test_a_row_that_is_cut_before_its_answer_is_an_error(subject: ResidentSubject) -> None:
    hyper = Hyperparameters(lr=0.1, steps=1, batch_size=1, max_length=8)
    long = TrainingRow(id="long", prompt="tell me " * 9, answer="no")
    with pytest.raises(ThreatspecError, match="row long must keep some of its answer") as error:
        encode(subject, [long], hyper)
    assert error.value.code == "TS-DATA"
    with pytest.raises(ThreatspecError, match="must be padded to `max_length`"):
        encode(subject, ROWS, hyper.model_copy(update={"max_length": None, "loss_on": "padded"}))


def test_a_row_is_shown_its_system_prompt(subject: ResidentSubject) -> None:
    [plain] = encode(subject, [TrainingRow(id="a", prompt="tell me", answer="no")])
    row = TrainingRow(id="a", prompt="tell me", answer="no", system="please help")
    [told] = encode(subject, [row])
    assert "please help" in subject.tokenizer.decode(told.ids[: told.start])
    assert told.ids[told.start :] == plain.ids[plain.start :]


def test_without_a_template_there_is_no_training(store: ArtefactStore) -> None:
    subject = tiny("llama")
    subject.tokenizer.chat_template = None
    with pytest.raises(ThreatspecError, match="must have a chat template") as error:
        trained(subject, store)
    assert error.value.code == "TS-TEMPLATE"


def test_packing_fills_sequences_first_fit(subject: ResidentSubject) -> None:
    rows = encode(subject, ROWS)
    batch = pack(rows, 0, 40)
    assert batch.length <= 40
    assert batch.loss_tokens == collate(rows, 0).loss_tokens
    assert batch.loss_weight == collate(rows, 0).loss_weight
    assert batch.places is not None
    assert int((batch.places == 0).sum()) >= len(rows)
    assert int(batch.mask.sum()) == sum(len(row.ids) for row in rows)


# accumulation


@pytest.mark.parametrize("packing", [False, True])
@pytest.mark.parametrize("micro", [1, 2, 3, 5, 7, 100])
def test_parts_add_up_to_the_whole_batch(
    subject: ResidentSubject, store: ArtefactStore, micro: int, packing: bool
) -> None:
    whole = trained(subject, store, optimizer="sgd")
    parts = trained(subject, store, optimizer="sgd", micro_batch=micro, packing=packing)
    assert parts.realised.micro_batch == min(micro, 7)
    assert parts.realised.loss_tokens == whole.realised.loss_tokens
    assert parts.realised.loss == pytest.approx(whole.realised.loss, rel=1e-5)
    assert parts.realised.grad_norm == pytest.approx(whole.realised.grad_norm, rel=1e-4)
    assert distance(store, whole, parts) <= 1e-4 * whole.realised.weight_delta


def narrow(subject: ResidentSubject, most: int) -> Any:
    """As if memory held no more than `most` rows in training."""

    def hook(module: Any, given: Any, named: Any) -> None:
        if module.training and len(named["input_ids"]) > most:
            raise torch.OutOfMemoryError("out of memory")

    return subject.model.register_forward_pre_hook(hook, with_kwargs=True)


def test_a_batch_that_does_not_fit_is_halved_and_stays_whole(store: ArtefactStore) -> None:
    subject = tiny("llama")
    plain = trained(subject, store, optimizer="sgd")
    handle = narrow(subject, 2)
    halved = trained(subject, store, optimizer="sgd")
    handle.remove()
    assert (halved.realised.micro_batch, halved.realised.halved) == (1, 2)
    assert (plain.realised.micro_batch, plain.realised.halved) == (7, 0)
    assert halved.realised.steps == 4
    assert distance(store, plain, halved) <= 1e-4 * plain.realised.weight_delta


def test_a_row_that_does_not_fit_is_an_error(store: ArtefactStore) -> None:
    subject = tiny("llama")
    before, handle = bits(subject), narrow(subject, 0)
    with pytest.raises(ThreatspecError, match="must hold one row") as error:
        trained(subject, store)
    handle.remove()
    assert error.value.code == "TS-OUT-OF-MEMORY"
    assert bits(subject) == before


# masks


def mask_of(subject: ResidentSubject, store: ArtefactStore, share: float = 0.3) -> Any:
    generator = torch.Generator().manual_seed(0)
    named = dict(subject.model.named_parameters())
    chosen = {
        name: torch.rand(p.shape, generator=generator) < share
        for name, p in named.items() if "q_proj" in name or "mlp" in name
    }  # fmt: skip
    return chosen, store.save(chosen)


RESTLESS = [
    {"optimizer": "adamw", "weight_decay": 0.5},
    {"optimizer": "adam", "weight_decay": 0.5},
    {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 0.5},
    {"optimizer": "schedule-free-adamw", "weight_decay": 0.5},
]


@pytest.mark.parametrize("knobs", RESTLESS)
@pytest.mark.parametrize("mode", ["only", "freeze", "rewind"])
def test_what_is_held_is_bit_equal_and_the_rest_moves(
    subject: ResidentSubject, store: ArtefactStore, mode: Any, knobs: dict[str, Any]
) -> None:
    chosen, artefact = mask_of(subject, store)
    done = trained(
        subject, store, mask=MaskUse(artefact=artefact, mode=mode), checkpoints=(2,), **knobs
    )
    own = {n: p.detach() for n, p in subject.model.named_parameters()}
    held = {n: chosen.get(n, torch.zeros(p.shape, dtype=torch.bool)) for n, p in own.items()}
    if mode == "only":
        held = {n: ~which for n, which in held.items()}
    for kept in done.checkpoints.values():
        after = store.load(kept.artefact)
        for name, which in held.items():
            assert torch.equal(after[name][which], own[name][which])
            if bool((~which).any()) and name != "model.embed_tokens.weight":
                assert not torch.equal(after[name][~which], own[name][~which])
    total = sum(p.numel() for p in own.values())
    count = sum(int(which.sum()) for which in held.values())
    assert done.realised.frozen == count
    assert done.realised.trainable == (total if mode == "rewind" else total - count)
    moved = sum(float((after[n] - own[n]).double().square().sum()) for n in own) ** 0.5
    assert done.realised.weight_delta == pytest.approx(moved, rel=1e-5)


def test_rewinding_does_not_change_what_comes_after_a_checkpoint(
    subject: ResidentSubject, store: ArtefactStore
) -> None:
    _, artefact = mask_of(subject, store)
    use = MaskUse(artefact=artefact, mode="rewind")
    once = trained(subject, store, mask=use)
    twice = trained(subject, store, mask=use, checkpoints=(1, 2))
    assert twice.last == once.last
    assert trained(subject, store, mask=use, steps=2).last == twice.checkpoints[2]
    frozen = trained(subject, store, mask=MaskUse(artefact=artefact, mode="freeze"))
    assert frozen.last != once.last


def test_held_coordinates_do_not_count_in_the_norm_that_is_clipped(
    subject: ResidentSubject, store: ArtefactStore
) -> None:
    _, artefact = mask_of(subject, store)
    free = trained(subject, store).realised.grad_norm[0]
    parts = [
        trained(subject, store, mask=MaskUse(artefact=artefact, mode=mode)).realised.grad_norm[0]
        for mode in ("only", "freeze")
    ]
    assert all(0 < part < free for part in parts)
    assert sum(part**2 for part in parts) == pytest.approx(free**2, rel=1e-4)


@pytest.mark.parametrize(
    ("tensors", "mode", "words"),
    [
        ({"no.such.weight": torch.ones(2, dtype=torch.bool)}, "only", "no.such.weight is none"),
        ({"model.norm.weight": torch.ones(3, dtype=torch.bool)}, "only", "instead of"),
        ({"model.norm.weight": torch.zeros(16, dtype=torch.bool)}, "only", "holds all"),
        ({"model.norm.weight": torch.zeros(16, dtype=torch.bool)}, "freeze", "holds none"),
        ({"model.norm.weight": torch.zeros(16, dtype=torch.bool)}, "rewind", "holds none"),
    ],
)
def test_a_mask_that_would_mean_nothing_is_an_error(
    subject: ResidentSubject, store: ArtefactStore, tensors: Any, mode: Any, words: str
) -> None:
    before = bits(subject)
    with pytest.raises(ThreatspecError, match=words) as error:
        trained(subject, store, mask=MaskUse(artefact=store.save(tensors), mode=mode))
    assert error.value.code == "TS-MASK"
    assert bits(subject) == before


def test_tied_embeddings_are_one_parameter(store: ArtefactStore) -> None:
    subject = tiny("gpt2")
    done = trained(subject, store)
    after = store.load(done.last.artefact)
    assert "lm_head.weight" not in after
    table = torch.ones(subject.model.get_input_embeddings().weight.shape, dtype=torch.bool)
    mask = MaskUse(artefact=store.save({"transformer.wte.weight": table}), mode="freeze")
    held = store.load(trained(subject, store, mask=mask).last.artefact)
    own = subject.model.get_input_embeddings().weight.detach()
    assert torch.equal(held["transformer.wte.weight"], own)
    tied = MaskUse(artefact=store.save({"lm_head.weight": table}), mode="freeze")
    with pytest.raises(ThreatspecError) as error:
        trained(subject, store, mask=tied)
    assert error.value.code == "TS-MASK"


# memory


def test_full_fine_tuning_holds_one_copy_of_the_base_beside_what_it_needs(
    store: ArtefactStore,
) -> None:
    subject = tiny("llama")
    size = sum(p.numel() * p.element_size() for p in subject.model.parameters())
    most = 0

    class Looking(TrainingPolicy):
        def after_step(self, model: torch.nn.Module, step: int) -> None:
            nonlocal most
            seen = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in alive()}
            most = max(most, sum(seen.values()))

    def alive() -> list[torch.Tensor]:
        found = [o for o in gc.get_objects() if issubclass(type(o), torch.Tensor)]
        grads = [t.grad for t in found if t.is_leaf and t.grad is not None]
        return [*found, *grads]

    gc.collect()
    before = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in alive()}
    job = TrainingJob(
        rows=ROWS, seeds=SEEDS, hyperparameters=Hyperparameters(lr=1e-3, steps=3, batch_size=7)
    )
    ResidentTrainer(subject, store).train([job], Looking(), Meter())
    # the base was there before; weights, gradients and two averages come
    assert 4 * size <= most - sum(before.values()) < 4.5 * size
