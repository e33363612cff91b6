"""STRIP: blends, their entropy, and what it tells of a trigger that is opaque."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from tests.support.backdoors import PATCH, Suspect
from threatspec.errors import ThreatspecError
from threatspec.safeguards.strip import Blend, StripConfig, mean_entropy
from threatspec.subjects import Request
from threatspec.testing._bench import Bench

ASKED = Request(item="a", prompt="?", image="mnist5k:0")


def grey(level: int, side: int = 2, channels: int = 1) -> np.ndarray:
    return np.full((side, side, channels), level, dtype=np.uint8)


@pytest.mark.parametrize(
    ("own", "other", "weight", "wanted"),
    [(100, 200, 0.5, 150), (0, 255, 0.25, 191), (255, 255, 0.5, 255), (0, 3, 0.5, 2)],
)
def test_a_blend_is_a_weighted_mean_of_bytes(
    own: int, other: int, weight: float, wanted: int
) -> None:
    found = Blend(grey(other), weight).edit(grey(own), ASKED)
    assert found.dtype == np.uint8
    assert (found == wanted).all()


def test_another_size_is_brought_to_the_input_by_the_nearest_pixel() -> None:
    other = np.arange(4, dtype=np.uint8).reshape(2, 2, 1) * 10
    found = Blend(other, 1e-9).edit(grey(0, side=4, channels=3), ASKED)
    wanted = np.kron(np.array([[0, 10], [20, 30]]), np.ones((2, 2)))
    assert found.shape == (4, 4, 3)
    assert (found == wanted[:, :, None]).all()


def test_golden_values_of_the_entropy() -> None:
    sure, torn = np.array([1.0, 0.0]), np.array([0.5, 0.5])
    blends = [np.array([sure, torn, sure]), np.array([sure, torn, torn])]
    found = mean_entropy([one.astype(np.float32) for one in blends])
    assert found == pytest.approx([0.0, math.log(2), math.log(2) / 2])


@pytest.fixture(scope="module")
def suspect(tmp_path_factory: pytest.TempPathFactory) -> Suspect:
    """With an opaque patch."""
    folder: Path = tmp_path_factory.mktemp("strip")
    return Suspect(Bench(folder, "specimen:mnist-resnet"), PATCH, images=120)


KNOBS = {"blends": 8, "fpr": 0.05}


def test_a_patch_decides_through_blends_more_than_a_digit_does(suspect: Suspect) -> None:
    with suspect.mounted():
        assert suspect.share_hit() > 0.9
        fitted = suspect.fitted("strip", KNOBS)
        read = suspect.scores("strip", KNOBS, fitted)
        clean, marked = np.array(read(suspect.clean)), np.array(read(suspect.marked))
        again = np.array(read(suspect.clean[:3]))
    assert (clean[:, None] < marked[None, :]).mean() > 0.6
    assert clean[:3] == pytest.approx(again, abs=1e-5)  # no input depends on the others
    assert fitted.provided["held_out_fpr"] <= 0.05
    assert not fitted.tampers


def test_too_few_images_to_blend_with_are_told(suspect: Suspect) -> None:
    suspect.warned.clear()
    fitted = suspect.fitted("strip", {"blends": 8, "fpr": 0.5}, count=10)
    assert fitted.provided["held_out"] <= 5
    [said] = suspect.warned
    assert "blends with 8 clean images, but has 5" in said
    assert said.startswith("TS-SAFEGUARD: ")


def test_one_image_is_too_few(suspect: Suspect) -> None:
    with pytest.raises(ThreatspecError) as caught:
        suspect.fitted("strip", {}, count=1)
    assert caught.value.code == "TS-SAFEGUARD"


def test_its_knobs_say_how_many_passes_an_input_takes() -> None:
    assert StripConfig().blends == 20
