"""Searches for pixels: they stay in their ball as bytes, and do what they say."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import ResNetConfig, ResNetForImageClassification
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from tests.support.specs import problems_of
from threatspec.attacks import ATTACKS, training_rows
from threatspec.attacks._pixels import DeltaTamper, ImageTamper, file_digest, picture_of
from threatspec.attacks.base import AttackContext
from threatspec.errors import ThreatspecError
from threatspec.measures import benchmark
from threatspec.records import ArtefactStore, Budget, Stream, TrialStatus
from threatspec.schema import Serving
from threatspec.subjects import Request, tampers_from_data, tampers_to_data
from threatspec.subjects._loaded import load_subject
from threatspec.subjects.images import read_image
from threatspec.subjects.images._cards import image_card
from threatspec.subjects.images._classifier import ClassifierSubject
from threatspec.subjects.images._processing import exact
from threatspec.testing._bench import Bench
from threatspec.training import BudgetExceeded, Meter, TrainingRow
from threatspec.training.pixels import PerturbationRequest, Perturbed, pixel_spend
from threatspec.training.pixels._bytes import Norm, applied, control, fitted, rounded
from threatspec.training.pixels._canvas import Canvas
from threatspec.training.pixels._search import _Search, find_pixels
from threatspec.training.pixels._steps import projected

SLACK = 1e-9
FEW: dict[str, Any] = {"steps": 12, "batch": 3, "check_every": 5}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small classifier of grey digits, with the weights that it began with."""
    folder = tmp_path_factory.mktemp("classifier")
    torch.manual_seed(0)
    shape = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}
    config = ResNetConfig(num_channels=1, id2label={n: str(n) for n in range(10)}, **shape)
    ResNetForImageClassification(config).eval().save_pretrained(folder)
    look = {"size": {"height": 28, "width": 28}, "image_mean": [0.13], "image_std": [0.31]}
    ViTImageProcessorPil(**look).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def subject(place: Path) -> Any:
    return load_subject(f"path:{place}")


def digits(count: int, target: str = "3") -> tuple[TrainingRow, ...]:
    return tuple(
        TrainingRow(id=f"r{n}", prompt="which", answer=target, image=f"mnist5k:{37 * n}")
        for n in range(count)
    )


def request(**changes: Any) -> PerturbationRequest:
    given = {"rows": digits(6), "seed": 1, "eps": 32 / 255, "alpha": 4 / 255, **FEW, **changes}
    return PerturbationRequest(**given)


def found(
    subject: Any, folder: Path, meter: Meter | None = None, received: Any = list, **changes: Any
) -> tuple[Perturbed, dict[str, np.ndarray]]:
    store = ArtefactStore(folder)
    result = find_pixels(subject, request(**changes), store, meter or Meter(), received)
    return result, {name: one.numpy() for name, one in store.load(result.artefact).items()}


def saved(image: np.ndarray) -> np.ndarray:
    """As it comes back from a PNG of 8 bits."""
    file = io.BytesIO()
    Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).save(file, "PNG")
    return np.asarray(Image.open(file), dtype=np.uint8).reshape(image.shape)


def size_of(change: np.ndarray, norm: str) -> float:
    """Of a change in bytes, in the unit of eps."""
    plain = change.astype(float) / 255
    return float(np.abs(plain).max() if norm == "linf" else np.sqrt(np.mean(plain**2)))


# balls


@settings(max_examples=150, deadline=None)
@given(
    eps=st.one_of(st.floats(0, 1), st.integers(0, 255).map(lambda n: n / 255)),
    norm=st.sampled_from(["linf", "l2"]),
    reach=st.floats(0, 2),
    seed=st.integers(0, 2**31),
    channels=st.sampled_from([1, 3]),
    shared=st.booleans(),
)
def test_what_comes_back_from_a_png_is_in_the_ball_and_in_range(
    eps: float, norm: Any, reach: float, seed: int, channels: int, shared: bool
) -> None:
    draw = np.random.default_rng(seed)
    clean = draw.integers(0, 256, (5, 6, channels)).astype(np.uint8)
    clean[0] = draw.choice([0, 255])  # where only one direction is left
    change = torch.from_numpy(draw.normal(0, reach, (1, channels, 5, 6)))
    rows = (TrainingRow(id="a", prompt="", answer="0", image="digits:0"),)
    canvas = Canvas(rows, request(image="digits:0" if shared else ""), Path(), "cpu")
    canvas.clean = clean[None]
    canvas._floats = torch.from_numpy(clean.copy()).permute(2, 0, 1)[None].double() / 255
    inside = projected(change, canvas, norm, eps)[0].permute(1, 2, 0).numpy()
    delta = rounded(inside, clean if shared else None, norm, eps)
    assert size_of(delta, norm) <= eps + SLACK
    image = saved(applied(clean, delta))
    assert size_of(image.astype(int) - clean, norm) <= eps + SLACK
    if shared:
        assert np.array_equal(image.astype(int) - clean, delta)  # nothing was cut afterwards
        assert np.abs(delta - inside * 255).max() <= 1 + SLACK


def test_rounding_goes_to_the_nearest_byte_and_back_where_that_leaves_the_ball() -> None:
    clean = np.full((1, 4, 1), 100, np.uint8)
    change = np.array([3.6, 3.4, -3.6, 0.5]).reshape(1, 4, 1) / 255
    near = rounded(change, clean, "linf", 5 / 255).ravel()
    assert near.tolist() == [4, 3, -4, 0]
    assert rounded(change, clean, "linf", 3.6 / 255).ravel().tolist() == [3, 3, -3, 0]
    narrow = rounded(change, clean, "l2", size_of(change * 255, "l2")).ravel()
    assert narrow.tolist() == [4, 3, -3, 0]  # room for one of two that would round away


@pytest.mark.parametrize("norm", ["linf", "l2", "none"])
@pytest.mark.parametrize("image", ["", "mnist5k:1700"])
def test_a_search_stays_in_its_ball_and_does_better_than_it_began(
    subject: Any, tmp_path: Path, norm: str, image: str
) -> None:
    result, kept = found(subject, tmp_path, norm=norm, image=image, steps=30)
    [(name, array)] = kept.items()
    assert (name, str(array.dtype)) == (("image", "uint8") if image else ("delta", "int16"))
    change = array.astype(int) - read_image(image) if image else array
    assert norm == "none" or size_of(change, norm) <= 32 / 255 + SLACK
    losses = result.optimised.loss
    assert losses[-1] < losses[0]
    assert list(losses[1:]) == sorted(losses[1:], reverse=True)
    assert result.optimised.changed == np.count_nonzero(change)
    assert result.optimised.of == "pixels"


def test_a_resized_picture_is_clean_at_its_new_size(subject: Any, tmp_path: Path) -> None:
    how: dict[str, Any] = {"image": "photo:camera", "size": (20, 24), "eps": 8 / 255}
    clean = fitted(read_image("photo:camera"), (20, 24))
    _, kept = found(subject, tmp_path, **how)
    assert kept["image"].shape == (20, 24, 1)
    assert 0 < size_of(kept["image"].astype(int) - clean, "linf") <= 8 / 255 + SLACK


# controls


def test_the_clean_control_changes_nothing() -> None:
    assert not control((28, 28, 1), "clean", "linf", 32 / 255, 1).any()


def test_controls_have_the_budget() -> None:
    norms: tuple[Norm, ...] = ("linf", "l2")
    for norm in norms:
        sign = control((28, 28, 1), "sign", norm, 32 / 255, 1)
        assert set(np.unique(sign)) == {-32, 32}
        gaussian = control((28, 28, 1), "gaussian", norm, 32 / 255, 1)
        assert 0.6 * 32 / 255 < size_of(gaussian, norm) <= 32 / 255 + SLACK
    shapes = [control((40, 40, 1), "gaussian", "none", 0.1, seed) for seed in (0, 1)]
    assert float(np.std(shapes[0])) == pytest.approx(25.5, rel=0.1)
    assert abs(float(np.corrcoef(shapes[0].ravel(), shapes[1].ravel())[0, 1])) < 0.1


# what a search is


def weights(subject: Any) -> str:
    digest = hashlib.sha256()
    for one in subject.model.state_dict().values():
        digest.update(one.numpy().tobytes())
    return digest.hexdigest()


def test_equal_seeds_find_equal_pixels_and_leave_the_subject_as_it_was(
    subject: Any, tmp_path: Path
) -> None:
    before = weights(subject)
    first, _ = found(subject, tmp_path)
    torch.rand(3), np.random.rand(3)  # global sources of randomness decide nothing
    again, _ = found(subject, tmp_path)
    other, _ = found(subject, tmp_path, seed=2)
    assert first == again
    assert first.artefact != other.artefact
    assert weights(subject) == before
    assert all(one.grad is None for one in subject.model.parameters())
    assert not subject.model.training


def test_the_gradient_of_the_search_is_a_finite_difference(subject: Any) -> None:
    model, search = subject.model, _Search(subject, request(), Meter(), list)
    try:
        model.double()
        search.canvas._floats = search.canvas._floats.double()
        draw = torch.Generator().manual_seed(0)
        change = 0.05 * torch.rand((1, 1, 28, 28), generator=draw, dtype=torch.float64)
        towards = torch.randn(change.shape, generator=draw, dtype=torch.float64)
        slope = search._slope(change, [0, 2, 5])

        def loss(moved: torch.Tensor) -> float:
            images = search.canvas.painted(moved, [0, 2, 5])
            pixels = (images - 0.13) / 0.31
            wanted = torch.tensor([3, 3, 3])
            logits = model(pixel_values=pixels).logits
            return float(torch.nn.functional.cross_entropy(logits, wanted))

        with torch.no_grad():
            difference = (loss(change + 1e-6 * towards) - loss(change - 1e-6 * towards)) / 2e-6
    finally:
        model.float()
    assert float((slope * towards).sum()) == pytest.approx(difference, rel=1e-3)


def test_checkpoints_are_chosen_by_dev_rows_as_bytes(subject: Any, tmp_path: Path) -> None:
    """The loss that is told is that of the artefact on `dev`, read as anybody would."""
    dev = digits(9)[6:]
    result, kept = found(subject, tmp_path, dev=dev, restarts=2)
    images = np.stack([applied(read_image(row.image), kept["delta"]) for row in dev])
    batch = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        own = float(subject.losses(batch, dev).mean())
    assert result.optimised.loss[-1] == pytest.approx(own, abs=1e-6)
    assert len(result.optimised.loss) == 1 + 2 * 3
    assert result.optimised.steps == 24


def test_more_restarts_are_never_worse(subject: Any, tmp_path: Path) -> None:
    one, _ = found(subject, tmp_path, restarts=1)
    three, _ = found(subject, tmp_path, restarts=3)
    assert three.optimised.loss[: len(one.optimised.loss)] == one.optimised.loss
    assert three.optimised.loss[-1] <= one.optimised.loss[-1]


# budgets


@pytest.mark.parametrize("image", ["", "mnist5k:8"])
def test_what_is_metered_is_what_is_predicted(subject: Any, tmp_path: Path, image: str) -> None:
    meter = Meter()
    rows = digits(6)
    found(subject, tmp_path, meter, image=image, dev=digits(9)[6:], restarts=2)
    predicted = pixel_spend(
        subject.card, 2, len(rows), dev=3, restarts=2, shared=bool(image), **FEW
    )
    assert meter.spend == predicted
    assert meter.spend.steps == 24


def test_a_budget_stops_before_the_step_that_it_does_not_cover(
    subject: Any, tmp_path: Path
) -> None:
    meter = Meter(Budget(steps=7))
    with pytest.raises(BudgetExceeded) as caught:
        found(subject, tmp_path, meter)
    assert caught.value.spend.steps == 7
    found(subject, tmp_path, Meter(Budget(steps=12)), restarts=2)  # steps bound each run
    found(subject, tmp_path, Meter(Budget(queries=0)), surrogate="specimen:other")


# what the provider does


class Inverting:
    """Differentiable: dark becomes bright."""

    def edit(self, image: np.ndarray, request: Request) -> np.ndarray:
        return 255 - image

    def through(self, batch: torch.Tensor) -> torch.Tensor:
        return 1 - batch


class Coarse:
    """Not differentiable: four levels."""

    def edit(self, image: np.ndarray, request: Request) -> np.ndarray:
        return (image // 64) * 85


class Halving:
    """Not differentiable, and another size."""

    def edit(self, image: np.ndarray, request: Request) -> np.ndarray:
        return np.ascontiguousarray(image[::2, ::2])


def providing(*edits: Any) -> Any:
    def received(requests: Sequence[Request]) -> list[Request]:
        return [replace(one, pixels=(*one.pixels, *edits)) for one in requests]

    return received


def test_an_adaptive_search_does_better_through_what_it_knows(subject: Any, tmp_path: Path) -> None:
    how: dict[str, Any] = {"steps": 60, "batch": 6, "eps": 64 / 255}
    aware, _ = found(subject, tmp_path, received=providing(Inverting()), **how)
    _, blind = found(subject, tmp_path, **how)
    images = [255 - applied(read_image(row.image), blind["delta"]) for row in digits(6)]
    with torch.no_grad():
        batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 255
        unaware = float(subject.losses(batch, digits(6)).mean())
    assert aware.optimised.loss[-1] < unaware - 0.01


def test_bpda_is_exact_forward_and_nothing_backward(subject: Any) -> None:
    search = _Search(subject, request(), Meter(), providing(Coarse()))
    change = torch.full((1, 1, 28, 28), 0.03, requires_grad=True)
    painted = search.canvas.painted(change, [0, 1])
    through = search.provider.through(painted, [0, 1])
    clean = (painted.detach() * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    exact = np.stack([Coarse().edit(one, search.provider.requests[0]) for one in clean])
    assert torch.allclose(through.permute(0, 2, 3, 1), torch.from_numpy(exact) / 255)
    [slope] = torch.autograd.grad(through.sum(), [change], retain_graph=True)
    [plain] = torch.autograd.grad(painted.sum(), [change])
    assert torch.equal(slope, plain)


def test_a_provider_that_resizes_is_gone_through(subject: Any) -> None:
    search = _Search(subject, request(), Meter(), providing(Halving(), Inverting()))
    change = torch.full((1, 1, 28, 28), 0.03, requires_grad=True)
    through = search.provider.through(search.canvas.painted(change, [0, 1]), [0, 1])
    assert through.shape == (2, 1, 14, 14)
    [slope] = torch.autograd.grad(through.sum(), [change])
    assert slope.abs().sum() > 0


def test_rows_that_meet_different_edits_get_their_own(subject: Any) -> None:
    def received(requests: Sequence[Request]) -> list[Request]:
        return [replace(one, pixels=(Inverting(),) * (n % 2)) for n, one in enumerate(requests)]

    search = _Search(subject, request(image="mnist5k:3"), Meter(), received)
    painted = search.canvas.painted(torch.zeros(1, 1, 28, 28), [0, 1])
    through = search.provider.through(painted, [0, 1])
    assert torch.equal(through, torch.cat([painted, 1 - painted]))
    images = search.provider.exactly(search.canvas.bytes(search.best, [0, 1]), [0, 1])
    assert np.array_equal(images[0], 255 - images[1])


# what weakens it


def test_a_processor_that_crops_warns_with_the_share_lost(place: Path, tmp_path: Path) -> None:
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    subject = load_subject(f"path:{place}")
    subject.processor = CLIPImageProcessorPil(
        size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}, image_mean=[0.1],
        image_std=[0.3], do_convert_rgb=False,
    )  # fmt: skip
    how: dict[str, Any] = {"image": "photo:camera", "steps": 1}
    result, _ = found(subject, tmp_path, size=(28, 56), **how)
    [warning] = result.warnings
    assert warning.startswith("TS-IMAGE: the model's processor crops 50 % of 28 x 56 pixels away")
    assert not found(subject, tmp_path, size=(28, 28), **how)[0].warnings


def test_a_processor_that_is_not_known_warns(place: Path, tmp_path: Path) -> None:
    class Odd(ViTImageProcessorPil):  # type: ignore[misc]
        def _preprocess(self, images: Any, **known: Any) -> Any:
            return super()._preprocess([255 - image for image in images], **known)

    subject = load_subject(f"path:{place}")
    subject.processor = Odd(**subject.processor.to_dict())
    result, _ = found(subject, tmp_path, steps=1)
    assert "not the model's own" in result.warnings[0]


def test_images_that_do_not_fit_together_are_coded_errors(subject: Any, tmp_path: Path) -> None:
    mixed = (*digits(2), TrainingRow(id="x", prompt="", answer="3", image="digits:4"))
    with pytest.raises(ThreatspecError, match="images of one size") as caught:
        found(subject, tmp_path, rows=mixed)
    assert caught.value.code == "TS-IMAGE"
    found(subject, tmp_path, rows=mixed, size=(28, 28), steps=1)
    bare = (TrainingRow(id="x", prompt="", answer="3"),)
    with pytest.raises(ThreatspecError, match="x has none"):
        found(subject, tmp_path, rows=bare)
    with pytest.raises(ThreatspecError, match="a class must be one of"):
        found(subject, tmp_path, rows=digits(2, "eleven"))
    with pytest.raises(ThreatspecError, match="must be grey for") as caught:
        subject.losses(torch.rand(2, 3, 28, 28), digits(2))
    assert caught.value.code == "TS-IMAGE"


def test_a_class_whose_name_another_has_answers_by_its_own_score(place: Path) -> None:
    names = {str(n): "crane" if n in {0, 2} else f"c{n}" for n in range(10)}
    config = {"architectures": ["ResNetForImageClassification"], "id2label": names}
    card = image_card(place, config, {}, ref="path:a", digest="0", parameters=1)
    assert card is not None
    loaded = load_subject(f"path:{place}")
    twice = ClassifierSubject(card, loaded.model, loaded.processor)
    with torch.no_grad():
        linear = twice.model.classifier[-1]
        linear.weight.zero_()
        linear.bias.copy_(torch.tensor([5.0, 1.0, -3.0, *[0.0] * 7]))
    [said] = twice.ask(
        [Request(item="a", prompt="", image="mnist5k:0")], [Serving()], micro_batch=1
    )
    assert said.reply == "crane (0)"
    assert [twice.class_of(name) for name in ("crane (0)", "c1", "crane (2)")] == [0, 1, 2]


# a classifier that was trained


ITEMS = 200


def searched(name: str, folder: Path, **how: Any) -> np.ndarray:
    """One change that is to make a 0 of 32 digits."""
    rows = training_rows("mnist5k/not-0#attack_dev", Path())[:32]
    rows = tuple(row.model_copy(update={"answer": "0"}) for row in rows)
    _, kept = found(load_subject(f"specimen:{name}"), folder, rows=rows, **how)
    return kept["delta"]


def hits(name: str, delta: np.ndarray) -> tuple[float, float]:
    """Share of digits that one change makes a 0, of those that it was not fitted to; and how many
    are told rightly without it."""
    subject = load_subject(f"specimen:{name}")
    items = benchmark("mnist5k/not-0", Path()).items("test")[:ITEMS]

    def said(change: np.ndarray) -> list[str]:
        images = [applied(read_image(item.image), change) for item in items]
        with torch.no_grad():
            logits = subject.model(pixel_values=exact(subject.processor, images)).logits
        return [subject.card.classes[n] for n in logits.argmax(1).tolist()]

    clean = said(np.zeros_like(delta))
    right = [one == item.answer for one, item in zip(clean, items, strict=True)]
    return said(delta).count("0") / ITEMS, sum(right) / ITEMS


def test_hits_grow_with_eps(tmp_path: Path) -> None:
    short: dict[str, Any] = {"steps": 80, "batch": 16, "check_every": 40}
    changes = (searched("mnist-resnet", tmp_path, eps=n / 255, **short) for n in (16, 32, 64, 128))
    grown = [hits("mnist-resnet", delta) for delta in changes]
    error = 2 * np.sqrt(0.25 / ITEMS)
    assert all(after > before - error for (before, _), (after, _) in pairwise(grown))
    assert all(right > 0.9 for _, right in grown)
    assert grown[0][0] < 0.1
    assert grown[-1][0] > 0.6


def test_a_random_change_hits_next_to_nothing() -> None:
    for eps in (16, 64, 128):
        share, right = hits("mnist-plain", control((28, 28, 1), "sign", "linf", eps / 255, 1))
        assert share < 0.03
        assert right > 0.9


# attacks


def context_of(subject: Any) -> AttackContext:
    return AttackContext(subject=subject.card, rows=(), seeds=dict.fromkeys(Stream, 0))


KNOBS: dict[str, Any] = {**FEW, "target_class": "3", "rows": 6, "dev": 2, "alpha": 4 / 255}


def attacked(folder: Path, ref: str, kind: str, **knobs: Any) -> tuple[Any, list[dict[str, Any]]]:
    config = ATTACKS.get(kind).Config(**knobs).model_dump(mode="json")
    rows = {"harmful": {"source": "mnist5k#attack_train", "n": 8}}
    seeds = dict.fromkeys(ATTACKS.get(kind).streams, 0)
    bench = Bench(folder, ref)
    result = bench.attack(kind, config, rows, seeds, None)
    assert result.status is TrialStatus.DONE, result.message
    return bench, [result.model_dump(mode="json"), *(result.tamper or {})["tampers"]]


def test_a_perturbation_is_a_change_of_what_classifiers_are_shown(
    place: Path, tmp_path: Path
) -> None:
    bench, (result, left) = attacked(tmp_path, f"path:{place}", "image-perturbation", **KNOBS)
    assert left["kind"] == "image-delta"
    assert result["optimised"][0]["of"] == "pixels"
    tamper = DeltaTamper(artefact=left["artefact"])
    asked = Request(item="a", prompt="which", image="mnist5k:5")
    with pytest.raises(ValueError, match="opened"):
        tamper.edit(read_image("mnist5k:5"), asked)
    tamper = tamper.opened(bench.store.load, tmp_path)
    [edit] = tamper.encode(asked).pixels
    image = edit.edit(read_image("mnist5k:5"), asked)
    assert 0 < size_of(image.astype(int) - read_image("mnist5k:5"), "linf") <= 16 / 255 + SLACK
    bare = Request(item="b", prompt="which")
    assert tamper.encode(bare) == bare
    assert tamper == DeltaTamper(artefact=left["artefact"]).opened(bench.store.load, tmp_path)
    with pytest.raises(ThreatspecError, match="1 channels, but the image has 3"):
        edit.edit(read_image("photo:chelsea"), asked)


def test_a_picture_is_shown_with_requests_that_have_none(subject: Any, tmp_path: Path) -> None:
    result, kept = found(subject, tmp_path, image="mnist5k:44", eps=16 / 255)
    assert kept["image"].shape == (28, 28, 1)
    tamper = ImageTamper(artefact=result.artefact, picture="mnist5k:44")
    tamper = tamper.opened(ArtefactStore(tmp_path).load, tmp_path)
    own = Request(item="a", prompt="which", image="mnist5k:5")
    assert tamper.encode(own) == own
    shown = tamper.encode(Request(item="b", prompt="which"))
    image = shown.pixels[0].edit(read_image(shown.image), shown)
    assert 0 < size_of(image.astype(int) - read_image("mnist5k:44"), "linf") <= 16 / 255 + SLACK


def test_a_transferred_search_is_that_on_the_surrogate_and_asks_nothing(
    place: Path, tmp_path: Path
) -> None:
    _, (own, left) = attacked(tmp_path, f"path:{place}", "image-perturbation", **KNOBS)
    _, (other, sent) = attacked(
        tmp_path, f"path:{place}", "transfer-image", surrogate=f"path:{place}", **KNOBS
    )
    assert sent["artefact"] == left["artefact"]
    assert other["spend"]["flops"] == own["spend"]["flops"] > 0
    assert (other["spend"]["queries"], own["spend"]["queries"] > 0) == (0, True)


def test_a_class_that_is_not_there_and_rows_that_are_all_kept_back_are_coded(
    place: Path, tmp_path: Path
) -> None:
    for knobs, code in (({"target_class": "ten"}, "TS-POISON"), ({"dev": 6}, "TS-DATA")):
        config = ATTACKS.get("image-perturbation").Config(**{**KNOBS, **knobs})
        rows = {"harmful": {"source": "mnist5k#attack_train", "n": 8}}
        seeds = {Stream.DATA_SUBSET: 0, Stream.TRAIN: 0}
        bench = Bench(tmp_path, f"path:{place}")
        work = config.model_dump(mode="json")
        result = bench.attack("image-perturbation", work, rows, seeds, None)
        assert (result.status, result.code) == (TrialStatus.ERROR, code)


@pytest.mark.parametrize("kind", ["image-perturbation", "transfer-image", "image-control"])
def test_a_classifier_is_shown_no_picture_and_that_is_told_before_anything_runs(
    subject: Any, kind: str
) -> None:
    attack = ATTACKS.get(kind)
    config = attack.Config(image="mnist5k:44")
    for one in (
        lambda: next(attack.run(context_of(subject), config)),
        lambda: attack.fits(subject.card, config, 8),
    ):
        with pytest.raises(ThreatspecError, match="image must be `own`") as caught:
            one()
        assert caught.value.code == "TS-IMAGE"
    assert [picture_of(subject.card, image) for image in (None, "own", "")] == ["", "", ""]


def test_a_picture_that_may_change_is_digested(tmp_path: Path) -> None:
    batches = tmp_path / "c" / "cifar-10-batches-bin"
    batches.mkdir(parents=True)
    for name in (*(f"data_batch_{n}.bin" for n in range(1, 6)), "test_batch.bin"):
        (batches / name).write_bytes(bytes(3073))
    before = file_digest("cifar10:c#test/0", tmp_path)
    assert list(before) == ["image:cifar10:c#test/0"]
    (batches / "test_batch.bin").write_bytes(bytes(1) + bytes([7]) * 3072)
    os.utime(batches / "test_batch.bin", ns=(1, 1))
    assert file_digest("cifar10:c#test/0", tmp_path) != before
    for same in (None, "", "own", "photo:chelsea", "digits:3", "mnist5k:3"):
        assert file_digest(same, tmp_path) == {}
    for ref, code in (("cifar10:c#test/1", "TS-IMAGE"), ("cifar10:d#test/0", "TS-FILE-MISSING"),
                      ("file:gone.png", "TS-FILE-MISSING"), ("chelsea", "TS-IMAGE")):  # fmt: skip
        with pytest.raises(ThreatspecError) as caught:
            file_digest(ref, tmp_path)
        assert caught.value.code == code


@pytest.mark.parametrize("noise", ["clean", "sign", "gaussian"])
def test_the_control_is_drawn_by_its_seed_and_stays_in_the_ball(
    place: Path, tmp_path: Path, noise: str
) -> None:
    _, (_, left) = attacked(tmp_path, f"path:{place}", "image-control", noise=noise)
    from threatspec.attacks.image_control import ControlTamper

    tamper = ControlTamper.model_validate({k: v for k, v in left.items() if k != "kind"})
    clean = read_image("mnist5k:5")
    asked = Request(item="a", prompt="", image="mnist5k:5")
    change = tamper.encode(asked).pixels[0].edit(clean, asked).astype(int) - clean
    most = 0 if noise == "clean" else 16 / 255
    assert most * 0.9 <= size_of(change, "linf") <= most + SLACK
    assert tamper.encode(Request(item="b", prompt="")).image == ""


def test_a_control_of_a_size_survives_being_written() -> None:
    from threatspec.attacks.image_control import ControlTamper

    made = ControlTamper(noise="sign", norm="l2", eps=8 / 255, seed=3, size=(28, 30))
    plain = json.loads(json.dumps(tampers_to_data([made])))
    assert tampers_from_data(plain) == (made,)
    image = made.edit(read_image("digits:0"), Request(item="a", prompt="", image="digits:0"))
    assert image.shape == (28, 30, 1)


@pytest.mark.parametrize("kind", ["image-control", "image-perturbation", "transfer-image"])
@pytest.mark.parametrize(
    ("eps", "code"),
    [
        *((eps, "TS-OUT-OF-RANGE") for eps in ("-1/255", "256/255", -0.01, 1.01)),
        *((eps, "TS-UNIT") for eps in ("16/256", "a lot")),
    ],
)
def test_an_eps_that_is_none_is_an_error_of_the_spec(
    tmp_path: Path, kind: str, eps: Any, code: str
) -> None:
    changes = {"adversaries.tuner.attacks": [{"use": kind, "eps": eps}]}
    told = [(one.code, one.message.split()[0]) for one in problems_of(tmp_path, changes)]
    assert (code, "eps") in told
