"""Images as processors make them: what gradients go through is what the processor itself does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import CLIPImageProcessor, ConvNextImageProcessor, ViTImageProcessor

from threatspec.errors import ThreatspecError
from threatspec.subjects.images import read_image
from threatspec.subjects.images._processing import exact, kept_share, misfit, processed

LLAVA = {"size": {"shortest_edge": 336}, "crop_size": {"height": 336, "width": 336}}
GREY = {"size": {"height": 28, "width": 28}, "image_mean": [0.13], "image_std": [0.31]}
PROCESSORS = {
    "clip": lambda: CLIPImageProcessor(),
    "clip small": lambda: CLIPImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    ),
    "llava": lambda: CLIPImageProcessor(**LLAVA),
    "vit": lambda: ViTImageProcessor(),
    "resnet": lambda: ConvNextImageProcessor(size={"shortest_edge": 224}, crop_pct=0.875),
    "convnext": lambda: ConvNextImageProcessor(),
    "padded": lambda: CLIPImageProcessor(
        size={"shortest_edge": 40}, crop_size={"height": 64, "width": 51}
    ),
    "nearest": lambda: ViTImageProcessor(resample=0),
    "lanczos": lambda: ViTImageProcessor(resample=1),
    "box": lambda: ViTImageProcessor(resample=4),
    "bytes": lambda: ViTImageProcessor(do_rescale=False, do_normalize=False),
    "as it is": lambda: ViTImageProcessor(do_resize=False),
}


@pytest.mark.parametrize("name", PROCESSORS)
@pytest.mark.parametrize("ref", ["photo:chelsea", "photo:camera", "mnist5k:17"])
def test_the_differentiable_way_is_within_two_bytes_of_the_processor(name: str, ref: str) -> None:
    assert misfit(PROCESSORS[name](), read_image(ref)) < 2.0


@pytest.mark.parametrize("ref", ["mnist5k:17", "digits:3"])
def test_a_grey_classifier_without_resizing_is_met_to_rounding(ref: str) -> None:
    image = read_image(ref)
    side = image.shape[0]
    processor = ViTImageProcessor(**{**GREY, "size": {"height": side, "width": side}})
    assert exact(processor, [image]).shape == (1, 1, side, side)
    assert misfit(processor, image) < 1e-3


def test_upright_images_are_met_as_lying_ones_are() -> None:
    image = np.ascontiguousarray(read_image("photo:chelsea").transpose(1, 0, 2))
    for name in ("clip", "llava", "resnet", "padded"):
        assert misfit(PROCESSORS[name](), image) < 2.0, name


def test_a_processor_that_does_more_is_told_by_its_misfit() -> None:
    class Inverting(ViTImageProcessor):  # type: ignore[misc]
        def _preprocess(self, images: Any, **settings: Any) -> Any:
            return super()._preprocess([255 - image for image in images], **settings)

    assert misfit(Inverting(), read_image("photo:chelsea")) > 20


@pytest.mark.parametrize("name", ["clip small", "vit", "padded", "resnet"])
def test_gradients_are_finite_differences(name: str) -> None:
    made = PROCESSORS[name]()
    draw = torch.Generator().manual_seed(5)
    image = torch.rand(1, 3, 21, 30, generator=draw, dtype=torch.float64) * 0.6 + 0.2
    weights = torch.randn(processed(made, image).shape, generator=draw, dtype=torch.float64)
    image.requires_grad_()
    (processed(made, image) * weights).sum().backward()  # type: ignore[no-untyped-call]
    towards = torch.randn(image.shape, generator=draw, dtype=torch.float64)
    with torch.no_grad():
        ends = [(processed(made, image + h * towards) * weights).sum() for h in (1e-6, -1e-6)]
    assert image.grad is not None
    slope, difference = (image.grad * towards).sum(), (ends[0] - ends[1]) / 2e-6
    assert float(slope) == pytest.approx(float(difference), rel=1e-5)


def test_what_is_cropped_away_has_no_gradient_and_its_share_is_told() -> None:
    made = PROCESSORS["clip"]()
    image = torch.rand(1, 3, 224, 448, requires_grad=True)
    processed(made, image).sum().backward()  # type: ignore[no-untyped-call]
    assert image.grad is not None
    assert float((image.grad != 0).float().mean()) == kept_share(made, 224, 448) == 0.5
    assert kept_share(PROCESSORS["vit"](), 224, 448) == 1.0
    assert kept_share(PROCESSORS["resnet"](), 300, 300) == pytest.approx(0.875**2)
    assert kept_share(PROCESSORS["padded"](), 40, 40) == 1.0


def test_grey_images_become_rgb_and_colour_is_refused_by_a_grey_model() -> None:
    grey = read_image("mnist5k:17")
    found = exact(PROCESSORS["vit"](), [grey])
    assert found.shape == (1, 3, 224, 224)
    assert torch.equal(found[:, 0], found[:, 2])
    refused = ViTImageProcessor(**GREY)
    with pytest.raises(ThreatspecError, match="1 channel for this model") as caught:
        exact(refused, [read_image("photo:chelsea")])
    assert caught.value.code == "TS-IMAGE"
    with pytest.raises(ThreatspecError, match="1 channel for this model"):
        processed(refused, torch.rand(1, 3, 28, 28))


def test_images_that_come_out_at_several_sizes_are_refused() -> None:
    with pytest.raises(ThreatspecError, match="at one size"):
        exact(PROCESSORS["as it is"](), [np.zeros((n, 9, 3), np.uint8) for n in (5, 8)])
