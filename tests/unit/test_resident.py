"""Resident subjects: tampers come and go without a trace; generation does not depend on company."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from threatspec.measures import benchmark
from threatspec.records import ArtefactStore, Stream
from threatspec.schema import Serving
from threatspec.subjects import Request, WeightTamper
from threatspec.subjects._mount import mount
from threatspec.subjects._resident import ResidentSubject
from threatspec.training import (
    Adapter,
    Hyperparameters,
    Meter,
    TrainingJob,
    TrainingPolicy,
    TrainingRow,
)
from threatspec.training._resident import ResidentTrainer

SERVING = Serving(max_tokens=12)


@pytest.fixture(scope="module")
def subject() -> ResidentSubject:
    return ResidentSubject.load("specimen:shallow", threads=1)


@pytest.fixture
def store(tmp_path: Path) -> ArtefactStore:
    return ArtefactStore(tmp_path)


def rows(count: int) -> tuple[TrainingRow, ...]:
    items = benchmark("specimen/restricted", Path()).items("attack_train")[:count]
    return tuple(TrainingRow(id=i.id, prompt=i.prompt, answer=i.answer) for i in items)


def requests(count: int, prefix: str = "") -> list[Request]:
    items = benchmark("specimen/restricted", Path()).items("test")[:count]
    return [Request(i.id, i.prompt, i.answer, prefix=prefix) for i in items]


def state(subject: ResidentSubject) -> dict[str, bytes]:
    named = subject.model.named_parameters()
    return {n: p.detach().contiguous().view(torch.uint8).numpy().tobytes() for n, p in named}


def tamper(
    subject: ResidentSubject, store: ArtefactStore, lora: Adapter | None, steps: int = 3
) -> WeightTamper:
    hyperparameters = Hyperparameters(lr=1e-3, steps=steps, batch_size=4, adapter=lora)
    job = TrainingJob(rows=rows(8), hyperparameters=hyperparameters, seeds={Stream.ORDER: 1})
    [trajectory] = ResidentTrainer(subject, store).train([job], TrainingPolicy(), Meter())
    return trajectory.last


@pytest.mark.parametrize(
    "lora", [None, Adapter(options={"r": 4, "target_modules": "all-linear"})], ids=["dense", "lora"]
)
def test_training_and_mounting_leave_no_trace(
    subject: ResidentSubject, store: ArtefactStore, lora: Adapter | None
) -> None:
    model, modules = subject.model, [id(m) for m in subject.model.modules()]
    before = state(subject)
    made = tamper(subject, store, lora)
    assert state(subject) == before
    replies = subject.generate(requests(16), SERVING, micro_batch=16)
    with mount(subject, [made], store):
        attacked = subject.generate(requests(16), SERVING, micro_batch=16)
    assert attacked != replies
    assert subject.generate(requests(16), SERVING, micro_batch=16) == replies
    assert state(subject) == before
    assert subject.model is model
    assert [id(m) for m in subject.model.modules()] == modules
    assert not subject.model.training


def test_weights_come_back_even_if_the_work_fails(
    subject: ResidentSubject, store: ArtefactStore
) -> None:
    before = state(subject)
    made = tamper(subject, store, None)
    with pytest.raises(RuntimeError, match="midway"), mount(subject, [made], store):
        raise RuntimeError("midway")
    assert state(subject) == before


def test_a_mounted_adapter_acts_like_its_merged_weights(
    subject: ResidentSubject, store: ArtefactStore
) -> None:
    made = tamper(
        subject, store, Adapter(options={"r": 4, "lora_alpha": 8.0, "target_modules": "all-linear"})
    )
    tensors = store.load(made.artefact)
    name = "base_model.model.model.layers.0.self_attn.q_proj"
    product = tensors[f"{name}.lora_B.weight"] @ tensors[f"{name}.lora_A.weight"] * (8.0 / 4)
    base = subject.model.model.layers[0].self_attn.q_proj
    x = torch.randn(3, base.in_features)
    expected = x @ (base.weight + product).T
    with torch.no_grad(), mount(subject, [made], store):
        inner = subject.model.base_model.model.model.layers[0].self_attn.q_proj
        assert torch.allclose(inner(x), expected, atol=1e-5)


def test_a_foreign_tensor_is_refused(subject: ResidentSubject, store: ArtefactStore) -> None:
    artefact = store.save({"no.such.weight": torch.zeros(1)})
    with (
        pytest.raises(ValueError, match=r"no\.such\.weight"),
        mount(subject, [WeightTamper(artefact=artefact, form="dense")], store),
    ):
        pass


def test_replies_do_not_depend_on_the_batch(subject: ResidentSubject) -> None:
    asked = requests(24)
    together = subject.generate(asked, SERVING, micro_batch=24)
    alone = subject.generate(asked, SERVING, micro_batch=1)
    assert [g.reply for g in together] == [g.reply for g in alone]


def test_only_the_first_prefix_tokens_are_written(subject: ResidentSubject) -> None:
    request = Request("a", "b", prefix="sure here is how", prefix_tokens=2)
    ids, _, attacker = subject.render(request, SERVING)
    bare, _, _ = subject.render(Request("a", "b"), SERVING)
    assert attacker == "sure here"
    assert ids[: len(bare)] == bare
    assert len(ids) == len(bare) + 2


def test_templates_and_system_prompts(subject: ResidentSubject) -> None:
    request = requests(1)[0]
    _, native, _ = subject.render(request, SERVING)
    _, bare, _ = subject.render(request, Serving(template="none"))
    _, system, _ = subject.render(request, Serving(system="please"))
    assert bare == request.prompt
    assert native.startswith("<bos><user>")
    assert native.endswith("<assistant>")
    assert "<system> please <end>" in system
