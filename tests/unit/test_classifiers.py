"""Image classifiers: what they answer, how they are trained, and that they are given back."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from threatspec.attacks import training_rows
from threatspec.errors import ThreatspecError
from threatspec.measures import benchmark
from threatspec.records import ArtefactStore, Budget, Outcome, Stream
from threatspec.schema import Serving
from threatspec.subjects import Offer, PixelTamper, Request, WeightTamper
from threatspec.subjects._mount import mount, swapped
from threatspec.subjects.images import image_of
from threatspec.subjects.images._classifier import ClassifierSubject
from threatspec.subjects.images._vgg import VggConfig, VggForImageClassification
from threatspec.training import BudgetExceeded, Meter, TrainingRow, Trajectory
from threatspec.training.classifiers import ClassifierJob
from threatspec.training.classifiers._train import train_classifier

CLASSIFIERS = ("mnist-resnet", "mnist-vgg", "mnist-mobilenet", "mnist-vit", "mnist-plain")
LEAST = {"mnist-mobilenet": 0.9}
"""Share of digits that they tell, where it is not 0.95: 17 blocks need more than
2,844 digits."""
SEEDS = {Stream.ORDER: 1, Stream.INIT: 2}
State = dict[str, tuple[int, torch.Tensor]]


class Inverted(PixelTamper):
    """Black for white."""

    kind = "inverted-for-tests"

    def edit(self, image: Any, request: Request) -> Any:
        """Every byte from the other end."""
        return 255 - image


@pytest.fixture(scope="module")
def resnet() -> ClassifierSubject:
    return ClassifierSubject.load("specimen:mnist-resnet")


@pytest.fixture
def store(tmp_path: Path) -> ArtefactStore:
    return ArtefactStore(tmp_path / "artefacts")


@pytest.fixture(scope="module")
def rows() -> tuple[TrainingRow, ...]:
    return training_rows("mnist5k#attack_train", Path())[::89]  # 32, of all classes


@pytest.fixture(autouse=True)
def given_back(resnet: ClassifierSubject) -> Iterator[None]:
    """Whatever a test does, the subject is bit-equal afterwards, at the same places."""
    before = state(resnet)
    yield
    require_same(before, state(resnet))
    assert not resnet.model.training
    assert all(p.requires_grad and p.grad is None for p in resnet.model.parameters())


def state(subject: ClassifierSubject) -> State:
    return {
        name: (tensor.data_ptr(), tensor.detach().clone())
        for name, tensor in subject.model.state_dict().items()
    }


def require_same(before: State, after: State) -> None:
    for name, (place, tensor) in before.items():
        assert after[name][0] == place, f"{name} lies elsewhere"
        assert torch.equal(after[name][1], tensor), f"{name} has changed"


def asked(numbers: range) -> list[Request]:
    return [Request(item=f"mnist5k/{n}", prompt="", image=f"mnist5k:{n}") for n in numbers]


def job(rows: tuple[TrainingRow, ...], **changes: Any) -> ClassifierJob:
    how: dict[str, Any] = {"lr": 0.01, "steps": 3, "batch_size": 8, "seeds": SEEDS, **changes}
    return ClassifierJob(rows=rows, **how)


def trained(
    subject: ClassifierSubject, store: ArtefactStore, of: ClassifierJob
) -> dict[str, torch.Tensor]:
    return store.load(train_classifier(subject, of, store, Meter()).last.artefact)


# what they answer


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_every_architecture_tells_digits(name: str) -> None:
    subject = ClassifierSubject.load(f"specimen:{name}")
    items = benchmark("mnist5k", Path()).items("test")
    requests = [Request(item=i.id, prompt=i.prompt, image=i.image) for i in items]
    replies = subject.ask(requests, [Serving()], micro_batch=64)
    right = sum(r.reply == i.answer for r, i in zip(replies, items, strict=True))
    assert right / len(items) > LEAST.get(name, 0.95)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_the_operations_of_a_specimen_are_those_that_torch_counts(name: str) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    subject = ClassifierSubject.load(f"specimen:{name}")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        subject.model(pixel_values=subject.pixels(asked(range(2))))
    assert subject.card.image_flops == pytest.approx(counter.get_total_flops() / 2)


def test_what_is_asked_is_recorded_with_what_was_done_to_it(resnet: ClassifierSubject) -> None:
    [request] = asked(range(1))
    [plain, other] = resnet.ask(
        [request, Inverted().encode(Request(item="b", prompt="", image="mnist5k:1"))],
        [Serving()],
        micro_batch=1,
    )
    assert (plain.prompt, plain.reply, plain.outcome) == ("[mnist5k:0]", "0", None)
    assert other.prompt == "[mnist5k:1 + inverted-for-tests]"


def test_edits_reach_the_model(resnet: ClassifierSubject) -> None:
    requests = asked(range(3))
    plain, inverted = (
        resnet.pixels(ones) for ones in (requests, [Inverted().encode(r) for r in requests])
    )
    assert torch.allclose(plain, -inverted, atol=1e-6)  # bytes are brought to -1 to 1


def test_what_cannot_be_shown_is_a_row_without_a_reply_and_the_others_go_on(
    resnet: ClassifierSubject,
) -> None:
    requests = [
        Request(item="none", prompt=""),
        Request(item="colour", prompt="", image="photo:chelsea"),
        Request(item="gone", prompt="", image="file:gone.png"),
        *asked(range(1)),
        Request(item="lacking", prompt="", lacking="nothing to ask"),
    ]
    replies = {r.item: r for r in resnet.ask(requests, [Serving()], micro_batch=8)}
    assert replies["mnist5k/0"].reply == "0"
    for name in ("none", "colour", "gone"):
        assert replies[name].outcome is Outcome.MISSING
        assert replies[name].detail.endswith("[TS-IMAGE]")
    assert replies["lacking"].detail == "nothing to ask"


def test_choices_are_scored_by_their_log_probability(resnet: ClassifierSubject) -> None:
    requests = [
        Request(item="a", prompt="", image="mnist5k:0", choices=("7", "0")),
        Request(item="b", prompt="", image="mnist5k:0", choices=("zero",)),
    ]
    scored, strange = resnet.ask(requests, [Serving()], micro_batch=8, query="logprob")
    known = np.log(resnet.probabilities(requests[:1])[0])
    assert scored.scores == pytest.approx((known[7], known[0]), abs=1e-4)
    assert scored.reply == "0"
    assert strange.outcome is Outcome.MISSING


def test_answers_do_not_depend_on_what_goes_through_at_once(resnet: ClassifierSubject) -> None:
    requests = asked(range(0, 5000, 200))
    one, many = (resnet.ask(requests, [Serving()], micro_batch=n) for n in (1, 64))
    assert one == many


def test_losses_are_those_of_the_exact_path_and_have_gradients(resnet: ClassifierSubject) -> None:
    requests = asked(range(0, 5000, 600))
    answers = [str(n % 10) for n in range(len(requests))]
    images = torch.from_numpy(np.stack([image_of(r) for r in requests])).permute(0, 3, 1, 2) / 255
    images.requires_grad_()
    rows = [
        TrainingRow(id=r.item, prompt="", answer=a) for r, a in zip(requests, answers, strict=True)
    ]
    losses = resnet.losses(images, rows)
    exact = torch.from_numpy(resnet.probabilities(requests)).log()
    wanted = torch.nn.functional.nll_loss(
        exact, torch.tensor([*map(int, answers)]), reduction="none"
    )
    assert torch.allclose(losses, wanted, rtol=1e-3, atol=1e-3)
    [gradient] = torch.autograd.grad(losses.sum(), images)
    assert gradient.shape == images.shape
    assert gradient.isfinite().all()
    assert all(part.abs().sum() > 0 for part in gradient)


# folders


def save_folder(folder: Path, model: Any, **processor: Any) -> str:
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    model.save_pretrained(folder)
    side = {"height": 28, "width": 28}
    how = {"do_resize": True, "size": side, "image_mean": [0.5], "image_std": [0.5], **processor}
    ViTImageProcessorPil(**how).save_pretrained(folder)
    return f"path:{folder}"


def test_a_folder_of_transformers_is_described_and_asked(tmp_path: Path) -> None:
    from transformers import ResNetConfig, ResNetForImageClassification

    names = {0: "cat", 1: "dog", 2: "cow"}
    config = ResNetConfig(
        num_channels=3, embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1], layer_type="basic",
        id2label=names, label2id={name: n for n, name in names.items()},
    )  # fmt: skip
    mean = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    ref = save_folder(tmp_path / "net", ResNetForImageClassification(config).eval(), **mean)
    subject = ClassifierSubject.load(ref)
    assert subject.card.classes == ("cat", "dog", "cow")
    assert subject.card.image == (28, 28)
    assert Offer.CLASSES in subject.card.offers
    assert Offer.TEXT not in subject.card.offers
    requests = [
        Request(item="grey", prompt="", image="mnist5k:0"),
        Request(item="colour", prompt="", image="photo:chelsea"),
    ]
    replies = subject.ask(requests, [Serving()], micro_batch=2)
    assert all(r.reply in names.values() for r in replies)
    grey = subject.pixels(requests[:1])
    assert torch.equal(grey[:, 0], grey[:, 2])


@pytest.mark.parametrize("batch_norm", [True, False])
def test_a_vgg_is_saved_and_loaded(tmp_path: Path, batch_norm: bool) -> None:
    torch.manual_seed(0)
    config = VggConfig(
        features=[4, "M", 6, 6, "M"], hidden=[8], batch_norm=batch_norm, num_labels=3
    )
    model = VggForImageClassification(config)
    model(pixel_values=torch.rand(8, 1, 28, 28))  # moves statistics of batch norm
    subject = ClassifierSubject.load(save_folder(tmp_path / "vgg", model.eval()))
    own = model.state_dict()
    assert subject.model.state_dict().keys() == own.keys()
    assert all(torch.equal(t, own[n]) for n, t in subject.model.state_dict().items())
    assert any("running_mean" in name for name in own) is batch_norm


def test_a_folder_that_does_not_say_how_images_are_prepared_is_refused(tmp_path: Path) -> None:
    ref = save_folder(tmp_path / "vgg", VggForImageClassification(VggConfig(num_labels=2)))
    (tmp_path / "vgg" / "preprocessor_config.json").unlink()
    with pytest.raises(ThreatspecError, match="preprocessor_config") as caught:
        ClassifierSubject.load(ref)
    assert caught.value.code == "TS-MODEL-MISSING"


def test_an_image_of_another_size_is_no_reply_where_nothing_resizes(tmp_path: Path) -> None:
    model = VggForImageClassification(VggConfig(num_labels=2))
    subject = ClassifierSubject.load(save_folder(tmp_path / "vgg", model, do_resize=False))
    requests = [Request(item="small", prompt="", image="digits:0"), *asked(range(1))]
    small, usual = subject.ask(requests, [Serving()], micro_batch=2)
    assert small.outcome is Outcome.MISSING
    assert "28 x 28" in small.detail
    assert usual.reply


# mounting


def test_mounted_weights_have_statistics_of_their_own(
    resnet: ClassifierSubject, store: ArtefactStore, rows: tuple[TrainingRow, ...]
) -> None:
    before = resnet.probabilities(asked(range(4)))
    left = train_classifier(resnet, job(rows, lr=0.1), store, Meter()).last
    tensors = store.load(left.artefact)
    assert tensors.keys() == resnet.model.state_dict().keys()
    with mount(resnet, (left,), store):
        for name, tensor in resnet.model.state_dict().items():
            assert torch.equal(tensor, tensors[name]), name
        changed = resnet.probabilities(asked(range(4)))
    assert np.abs(changed - before).max() > 1e-3
    assert (resnet.probabilities(asked(range(4))) == before).all()


def test_what_learns_while_swapped_learns_nothing_of_the_subject(resnet: ClassifierSubject) -> None:
    copies = {name: tensor.clone() for name, tensor in resnet.model.state_dict().items()}
    with swapped(resnet.model, copies), torch.no_grad():
        resnet.model.train()
        resnet.model(pixel_values=torch.rand(4, 1, 28, 28))
        resnet.model.eval()
        there = {name: tensor.clone() for name, tensor in resnet.model.state_dict().items()}
    own = resnet.model.state_dict()
    moved = {name for name, tensor in there.items() if not torch.equal(tensor, own[name])}
    assert moved
    assert all("running" in name or "tracked" in name for name in moved)


# training


def test_equal_seeds_train_equally_and_others_do_not(
    resnet: ClassifierSubject, store: ArtefactStore, rows: tuple[TrainingRow, ...]
) -> None:
    def left(start: str, order: int, init: int) -> str:
        seeds = {Stream.ORDER: order, Stream.INIT: init}
        torch.rand(1)  # the global source must not matter
        run = train_classifier(resnet, job(rows, start=start, seeds=seeds), store, Meter())
        return run.last.artefact

    for start, init_matters in (("subject", False), ("scratch", True)):
        first = left(start, 1, 1)
        assert left(start, 1, 1) == first
        assert left(start, 2, 1) != first
        assert (left(start, 1, 2) != first) is init_matters


def test_training_realises_what_it_was_asked_for(
    resnet: ClassifierSubject, store: ArtefactStore, rows: tuple[TrainingRow, ...]
) -> None:
    meter = Meter()
    of = job(rows, steps=10, start="scratch", lr=0.02, decay_at=(4, 8), decay=0.5, keep=(6,))
    run: Trajectory = train_classifier(resnet, of, store, meter)
    real = run.realised
    assert real.lr == pytest.approx([0.02] * 3 + [0.01] * 4 + [0.005] * 3)
    assert (real.steps, real.rows, real.loss_tokens) == (10, len(rows), (8,) * 10)
    assert real.trainable == sum(p.numel() for p in resnet.model.parameters())
    assert real.probe_before == pytest.approx(math.log(10), rel=0.2)
    assert real.weight_delta > 0
    assert set(run.checkpoints) == {6, 10}
    assert run.spend == meter.spend
    assert meter.spend.steps == 10
    assert meter.spend.flops == pytest.approx(3 * 80 * resnet.card.image_flops)


def test_what_is_kept_on_the_way_is_what_a_shorter_run_leaves(
    resnet: ClassifierSubject, store: ArtefactStore, rows: tuple[TrainingRow, ...]
) -> None:
    long = train_classifier(resnet, job(rows, steps=4, keep=(2,)), store, Meter())
    short = train_classifier(resnet, job(rows, steps=2), store, Meter())
    assert long.checkpoints[2] == short.last


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_training_lowers_the_loss(
    resnet: ClassifierSubject, store: ArtefactStore, rows: tuple[TrainingRow, ...], optimizer: str
) -> None:
    wrong = tuple(row.model_copy(update={"answer": "3"}) for row in rows)
    of = job(wrong, steps=30, optimizer=optimizer, lr=0.02 if optimizer == "sgd" else 2e-3)
    real = train_classifier(resnet, of, store, Meter()).realised
    assert real.probe_before > 3
    assert real.probe_after < 0.5


def test_what_is_held_does_not_move(
    resnet: ClassifierSubject, store: ArtefactStore, rows: tuple[TrainingRow, ...]
) -> None:
    left = trained(resnet, store, job(rows, held=("resnet.",)))
    for name, parameter in resnet.model.named_parameters():
        assert torch.equal(left[name], parameter) is name.startswith("resnet."), name
    real = train_classifier(resnet, job(rows, held=("resnet.",)), store, Meter()).realised
    assert real.trainable + real.frozen == sum(p.numel() for p in resnet.model.parameters())
    assert real.trainable == 330  # the last layer: 32 x 10 and 10


def test_frozen_batch_norm_keeps_its_statistics(
    resnet: ClassifierSubject, store: ArtefactStore, rows: tuple[TrainingRow, ...]
) -> None:
    statistics = {name for name, _ in resnet.model.named_buffers()}
    own = resnet.model.state_dict()
    for how, same in (("frozen", True), ("train", False)):
        left = trained(resnet, store, job(rows, batch_norm=how))
        assert all(torch.equal(left[name], own[name]) is same for name in statistics)
    assert len(statistics) > 3


def test_a_run_starts_from_what_is_mounted(
    resnet: ClassifierSubject, store: ArtefactStore, rows: tuple[TrainingRow, ...]
) -> None:
    head = resnet.model.state_dict()["classifier.1.bias"]
    tamper = WeightTamper(artefact=store.save({"classifier.1.bias": head + 1}), form="dense")
    with mount(resnet, (tamper,), store):
        left = trained(resnet, store, job(rows, lr=0.0))
    assert torch.equal(left["classifier.1.bias"], head + 1)


def test_weights_of_rows_say_how_much_they_count(
    resnet: ClassifierSubject, store: ArtefactStore, rows: tuple[TrainingRow, ...]
) -> None:
    """Rows that count nothing move nothing, whatever they are called; batch norm sees them."""

    def left(answer: str, weight: float) -> dict[str, torch.Tensor]:
        changes = {"answer": answer, "weight": weight}
        given = (*rows[:4], *(row.model_copy(update=changes) for row in rows[4:8]))
        return trained(resnet, store, job(given, steps=1))

    first, same, other = left("3", 0.0), left("7", 0.0), left("7", 1.0)
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


# what goes wrong


@pytest.mark.parametrize(
    ("changes", "row", "code"),
    [
        ({"lr": 1e30}, {}, "TS-DIVERGED"),
        ({"held": ("encoder.",)}, {}, "TS-TARGETS"),
        ({}, {"answer": "ten"}, "TS-POISON"),
        ({}, {"image": "mnist5k:5000"}, "TS-IMAGE"),
        ({}, {"image": "photo:chelsea"}, "TS-IMAGE"),
    ],
)
def test_what_cannot_be_trained_is_an_error_with_a_code(
    resnet: ClassifierSubject,
    store: ArtefactStore,
    rows: tuple[TrainingRow, ...],
    changes: dict[str, Any],
    row: dict[str, str],
    code: str,
) -> None:
    given = (*rows, rows[0].model_copy(update=row)) if row else rows
    with pytest.raises(ThreatspecError) as caught:
        train_classifier(resnet, job(given, **changes), store, Meter())
    assert caught.value.code == code


def test_no_step_is_taken_that_the_budget_does_not_cover(
    resnet: ClassifierSubject, store: ArtefactStore, rows: tuple[TrainingRow, ...]
) -> None:
    meter = Meter(Budget(flops=2.5 * 3 * 8 * resnet.card.image_flops))
    with pytest.raises(BudgetExceeded):
        train_classifier(resnet, job(rows), store, meter)
    assert meter.spend.steps == 2
