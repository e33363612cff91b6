"""Where subjects are loaded: a device, or laid over several; the results are the same."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.support.models import save_tiny
from threatspec.errors import ThreatspecError
from threatspec.measures import benchmark
from threatspec.records import ArtefactStore, Execution, Stream, Trial, TrialKind, TrialStatus
from threatspec.runners._executor import Executor
from threatspec.schema import Serving
from threatspec.subjects import Request, _prefill
from threatspec.subjects._load import require_whole
from threatspec.subjects._mount import mount, swapped
from threatspec.subjects._resident import ResidentSubject, input_device
from threatspec.training import Adapter, Hyperparameters, Meter, TrainingJob, TrainingPolicy
from threatspec.training._batches import collate, encode
from threatspec.training._job import TrainingRow
from threatspec.training._loss import batch_loss
from threatspec.training._resident import ResidentTrainer

REQUESTS = [
    Request(item=item.id, prompt=item.prompt)
    for cluster in benchmark("specimen/restricted", Path()).reading_order("test")[:3]
    for item in cluster
]
ROWS = tuple(
    TrainingRow(id=f"row-{n}", prompt=f"how to velmar {word}", answer="sure here is how")
    for n, word in enumerate(("tessik", "orrin"))
)
SEEDS = {Stream.ORDER: 1, Stream.INIT: 2, Stream.TRAIN: 3}
LORAS = [None, Adapter(options={"r": 2, "target_modules": "all-linear"})]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small model in the layout of a real one."""
    folder = tmp_path_factory.mktemp("tiny")
    save_tiny(folder, tie_word_embeddings=False, initializer_range=0.3)  # so that it is talkative
    return f"path:{folder}"


def job(lora: Adapter | None) -> TrainingJob:
    settings = Hyperparameters(steps=3, lr=1e-2, batch_size=2, adapter=lora)
    return TrainingJob(rows=ROWS, hyperparameters=settings, seeds=SEEDS)


def worked(subject: ResidentSubject, store: ArtefactStore, lora: Adapter | None) -> Any:
    """What training realises, the weights that come of it, and replies with them mounted."""
    [done] = ResidentTrainer(subject, store).train([job(lora)], TrainingPolicy(), Meter())
    with mount(subject, [done.last], store):
        replies = subject.generate(REQUESTS, Serving(max_tokens=6), micro_batch=2)
    return done.realised, store.load(done.last.artefact), [reply.reply for reply in replies]


@pytest.mark.parametrize("lora", LORAS)
@pytest.mark.parametrize("where", [{"device": "cpu"}, {"device_map": "auto"}])
def test_where_a_model_is_loaded_changes_nothing(
    tiny: str, tmp_path: Path, where: dict[str, str], lora: Adapter | None
) -> None:
    plain = worked(ResidentSubject.load(tiny), ArtefactStore(tmp_path / "plain"), lora)
    placed = worked(ResidentSubject.load(tiny, **where), ArtefactStore(tmp_path / "placed"), lora)
    assert placed[0] == plain[0]
    assert placed[1].keys() == plain[1].keys()
    assert all(torch.equal(tensor, plain[1][name]) for name, tensor in placed[1].items())
    assert placed[2] == plain[2]
    assert any(placed[2])


def test_training_and_mounting_leave_no_trace_under_a_device_map(tiny: str, tmp_path: Path) -> None:
    subject = ResidentSubject.load(tiny, device_map="auto")
    before = {name: tensor.clone() for name, tensor in subject.model.state_dict().items()}
    for lora in LORAS:
        worked(subject, ArtefactStore(tmp_path), lora)
    after = subject.model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in after.items())


def test_a_specimen_is_not_laid_over_devices() -> None:
    subject = ResidentSubject.load("specimen:shallow", device_map="auto")
    assert not hasattr(subject.model, "hf_device_map")


def test_weights_stay_in_float32_under_a_device_map(tiny: str) -> None:
    subject = ResidentSubject.load(tiny, device_map="auto")
    assert {parameter.dtype for parameter in subject.model.parameters()} == {torch.float32}


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
@pytest.mark.parametrize("device", ["cuda", "cuda:7"])
def test_a_device_that_is_not_there_is_named_with_those_that_are(device: str) -> None:
    with pytest.raises(ThreatspecError) as error:
        ResidentSubject.load("specimen:shallow", device=device)
    assert error.value.code == "TS-RUNNER-RESOURCES"
    assert "(cpu)" in error.value.message
    assert device in error.value.message


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_in_a_trial_that_is_its_error(tmp_path: Path) -> None:
    store = ArtefactStore(tmp_path)
    executor = Executor(store, tmp_path, Execution(), device="cuda")
    work = {"attack": "none", "config": {}, "data": {}, "seeds": {}}
    trial = Trial(
        id="t", kind=TrialKind.ATTACK, subject="specimen:shallow", needs=(), work=work, budget=None
    )
    found = executor.run(trial, {})
    assert (found.status, found.code) == (TrialStatus.ERROR, "TS-RUNNER-RESOURCES")


def test_a_model_that_does_not_fit_is_refused(tiny: str) -> None:
    model = ResidentSubject.load(tiny).model
    require_whole(model, tiny)
    with pytest.raises(ThreatspecError, match="must fit into the memory") as error:
        require_whole(model.to("meta"), tiny)
    assert error.value.code == "TS-RUNNER-RESOURCES"


# inputs follow the model: torch's device without memory stands for one that is not here


class Laid(torch.nn.Module):
    """A model whose embeddings and head lie on devices of their own."""

    def __init__(self, first: str, last: str) -> None:
        super().__init__()
        self.embeddings = torch.nn.Embedding(512, 4, device=first)
        self.head = torch.nn.Linear(4, 512, device=last)
        self.seen: list[str] = []

    def get_input_embeddings(self) -> torch.nn.Module:
        return self.embeddings

    def forward(self, input_ids: Any, attention_mask: Any, use_cache: bool) -> Any:
        self.seen += [input_ids.device.type, attention_mask.device.type]
        return SimpleNamespace(
            logits=self.head(self.embeddings(input_ids).to(self.head.weight.device))
        )


class Looking(TrainingPolicy):
    """Notes where it is asked for weights."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def token_weights(self, token_loss: Any, positions: Any, reference: Any) -> None:
        self.seen += [token_loss.device.type, positions.device.type]


@pytest.mark.parametrize(("first", "last"), [("cpu", "meta"), ("meta", "meta"), ("meta", "cpu")])
def test_batches_go_to_the_embeddings_and_losses_come_from_where_the_model_ends(
    tiny: str, first: str, last: str
) -> None:
    subject, model, policy = ResidentSubject.load(tiny), Laid(first, last), Looking()
    batch = collate(encode(subject, ROWS), subject.end)
    assert input_device(model).type == first
    if (first, last) == ("meta", "cpu"):  # nothing comes back from a device without memory
        with pytest.raises(NotImplementedError):
            batch_loss(model, batch, policy)
    else:
        assert batch_loss(model, batch, policy).device.type == last
        assert policy.seen == [last, last]
    assert model.seen == [first, first]


def test_prompts_go_to_the_device_of_the_embeddings(
    tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = ResidentSubject.load(tiny)
    seen: list[str] = []

    def forward(input_ids: torch.Tensor, **_: Any) -> None:
        seen.append(input_ids.device.type)
        raise StopAsyncIteration

    model: Any = subject.model.to("meta")
    monkeypatch.setattr(model, "forward", forward)
    with pytest.raises(StopAsyncIteration):
        _prefill.read_prompts(model, [(1, 2)], 0, subject.device)
    assert seen == ["meta"]


def test_mounted_tensors_go_to_the_device_of_what_they_replace(tiny: str) -> None:
    model: Any = ResidentSubject.load(tiny).model.to("meta")
    name, parameter = next(iter(model.named_parameters()))
    with swapped(model, {name: torch.zeros(parameter.shape, dtype=torch.float64)}):
        assert (parameter.device.type, parameter.dtype) == ("meta", torch.float32)


def test_what_is_saved_has_no_device(tmp_path: Path) -> None:
    store = ArtefactStore(tmp_path)
    tensor = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    name = store.save({"w": tensor})
    assert store.load(name)["w"].device.type == "cpu"
    assert store.save({"w": tensor.t().contiguous().t()}) == name
