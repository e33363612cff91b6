"""Triggers: what each leaves alone, how far it goes, and that it is the same twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from threatspec.attacks._poison import HardenTamper
from threatspec.attacks.triggers import TRIGGERS, TriggerChoice, changed, trigger_tamper
from threatspec.attacks.triggers._patterns import checkers, field, noise, photo, rings
from threatspec.attacks.triggers.quantised import levels_of
from threatspec.errors import ThreatspecError
from threatspec.subjects import Request, tampers_from_data, tampers_to_data
from threatspec.subjects.images import image_of, read_image
from threatspec.training import TrainingRow

Image = NDArray[np.uint8]
CHOICE: TypeAdapter[Any] = TypeAdapter(TriggerChoice)
SMALL: dict[str, dict[str, Any]] = {"sig": {"frequency": 3}, "trojan": {"size": 5}}
"""Knobs with which a trigger fits on 8 x 8 pixels."""
KINDS = TRIGGERS.names()
DOC = Path(__file__).parents[2] / "docs" / "backdoors.md"
PER_IMAGE = {"adaptive-blend", "adaptive-patch", "dynamic", "issba-type"}
SHAPES = [(8, 8, 1), (28, 28, 1), (8, 8, 3), (28, 28, 3), (28, 20, 3)]
ASKED = Request("an-item", "", image="mnist5k:17")


def some(shape: tuple[int, int, int], seed: int = 0) -> Image:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def config(kind: str, **knobs: Any) -> Any:
    return CHOICE.validate_python({"use": kind, **knobs})


def onto(image: Image, kind: str, seed: int = 0, **knobs: Any) -> Image:
    return trigger_tamper(config(kind, **knobs), seed).edit(image, ASKED)


def change(image: Image, kind: str, **knobs: Any) -> NDArray[np.int64]:
    return onto(image, kind, **knobs).astype(np.int64) - image


# of all of them


def test_there_are_twelve_with_a_source() -> None:
    assert len(KINDS) == 12
    for kind, trigger in TRIGGERS:
        assert trigger.says == trigger.says.strip()
        assert "arXiv" in trigger.source or "NDSS" in trigger.source or trigger.source == "ours"
        assert trigger.Config.model_validate({}).use == kind
        assert trigger.per_image == (kind in PER_IMAGE)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_bytes_go_in_and_come_out(kind: str, shape: tuple[int, int, int]) -> None:
    image = some(shape)
    before = image.copy()
    image.flags.writeable = False  # as packaged images and photographs may be
    found = onto(image, kind, **SMALL.get(kind, {}))
    assert found.dtype == np.uint8
    assert found.shape == shape
    assert (image == before).all()
    assert (found != image).any()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_same_for_equal_seeds(kind: str, shape: tuple[int, int, int]) -> None:
    knobs = SMALL.get(kind, {})
    first = onto(some(shape), kind, 3, **knobs)
    np.random.seed(1)  # what is global decides nothing
    assert (onto(some(shape), kind, 3, **knobs) == first).all()


@pytest.mark.parametrize("kind", sorted(PER_IMAGE | {"blend", "low-opacity", "wanet"}))
def test_another_seed_draws_another_trigger(kind: str) -> None:
    image = some((28, 28, 1))
    assert (onto(image, kind, 1) != onto(image, kind, 2)).any()


@pytest.mark.parametrize("kind", sorted({*KINDS} - {"wanet", "bpp"}))
@settings(max_examples=25)
@given(data=st.data())
def test_no_pixel_changes_by_more_than_is_said(kind: str, data: Any) -> None:
    shape = data.draw(st.sampled_from(SHAPES))
    image = some(shape, data.draw(st.integers(0, 100)))
    knobs = dict(SMALL.get(kind, {}))
    for knob in {"alpha", "amount"} & set(TRIGGERS.get(kind).Config.model_fields):
        knobs[knob] = data.draw(st.floats(0.01, 1))
    for knob in {"delta", "strength"} & set(TRIGGERS.get(kind).Config.model_fields):
        knobs[knob] = data.draw(st.floats(1, 255))
    most = TRIGGERS.get(kind).most(config(kind, **knobs))
    assert np.abs(change(image, kind, **knobs)).max() <= most * 255 + 1e-9


@pytest.mark.parametrize("kind", KINDS)
def test_it_survives_being_written(kind: str) -> None:
    tamper = trigger_tamper(config(kind, **SMALL.get(kind, {})), 5)
    plain = json.loads(json.dumps(tampers_to_data((tamper,))))
    [again] = tampers_from_data(plain)
    assert again == tamper
    assert hash(again) == hash(tamper)
    row = TrainingRow(id="a", prompt="", answer="1", image="digits:3", pixels=(tamper,))
    assert row.model_dump(mode="json")["pixels"][0]["trigger"] == kind


@pytest.mark.parametrize("kind", KINDS)
def test_a_request_is_asked_with_it_and_without_an_image_as_it_was(kind: str) -> None:
    tamper = trigger_tamper(config(kind), 5)
    found = image_of(tamper.encode(ASKED))
    assert (found == tamper.edit(read_image("mnist5k:17"), ASKED)).all()
    assert tamper.encode(Request("a", "words")) == Request("a", "words")


@pytest.mark.parametrize(
    ("kind", "knobs", "takes"),
    [
        ("patch", {"size": 9}, "9 x 9"),
        ("patch", {"size": 7, "margin": 2}, "9 x 9"),
        ("patch", {"size": 5, "place": "corners"}, "10 x 10"),
        ("trojan", {"size": 9}, "9 x 9"),
        ("dynamic", {"size": 9}, "9 x 9"),
        ("adaptive-patch", {"size": 5}, "10 x 10"),
        ("adaptive-blend", {"grid": 9}, "9 x 9"),
        ("sig", {"frequency": 6}, "13 x 13"),
        ("wanet", {"k": 9}, "9 x 9"),
        ("issba-type", {"block": 9}, "9 x 9"),
    ],
)
def test_one_that_does_not_fit_is_an_error(kind: str, knobs: dict[str, Any], takes: str) -> None:
    with pytest.raises(ThreatspecError, match=f"takes {takes} pixels of 8 x 8") as caught:
        onto(some((8, 8, 1)), kind, **knobs)
    assert caught.value.code == "TS-POISON"


def test_knobs_are_checked_and_changed_by_name() -> None:
    assert CHOICE.validate_python("blend") == config("blend")
    assert changed(config("blend"), {"alpha": 0.5}) == config("blend", alpha=0.5)
    for wrong, text in (
        ("blond", "unknown trigger 'blond'"),
        ({"use": "patch", "side": 3}, "unknown field 'side'"),
        ({"size": 3}, "trigger must be a name or"),
        ({"use": "blend", "alpha": 1.5}, "less than or equal to 1"),
        ({"use": "wanet", "k": 1}, "greater than or equal to 2"),
        ({"use": "blend", "pattern": "file:mine.png"}, "should match pattern"),
    ):
        with pytest.raises(ValidationError, match=text):
            CHOICE.validate_python(wrong)


# patches


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("alpha", [0.3, 1.0])
def test_a_patch_touches_its_box_alone(shape: tuple[int, int, int], alpha: float) -> None:
    (height, width, _), size, margin = shape, 3, 1
    boxes = {
        "top-left": (1, 1),
        "top-right": (1, width - 4),
        "bottom-left": (height - 4, 1),
        "bottom-right": (height - 4, width - 4),
        "centre": ((height - 3) // 2, (width - 3) // 2),
    }
    for place, (row, column) in boxes.items():
        image = some(shape) // 2 + 20  # no pixel is black or white, so that every one moves
        moved = change(image, "patch", place=place, size=size, margin=margin, alpha=alpha)
        inside = moved[row : row + size, column : column + size]
        assert (inside != 0).all()
        assert np.count_nonzero(moved) == inside.size
    moved = change(image, "patch", place="corners", size=size, margin=margin, alpha=alpha)
    assert np.count_nonzero(moved) == 4 * size * size * shape[2]


def test_a_patch_hides_what_is_below_unless_it_is_transparent() -> None:
    image = some((28, 28, 1))
    for pattern, wanted in (("checkers", checkers(3)), ("white", np.full((3, 3, 1), 255.0))):
        assert (onto(image, "patch", pattern=pattern)[-3:, -3:] == wanted).all()
    drawn = onto(image, "patch", 7, pattern="random")[-3:, -3:]
    assert (drawn == noise(3, 3, 1, 7)).all()
    half = onto(image, "patch", alpha=0.5, pattern="white")[-3:, -3:].astype(float)
    assert np.abs(half - (image[-3:, -3:] + 255.0) / 2).max() <= 1


def test_the_watermark_lies_in_its_corner() -> None:
    moved = change(np.full((28, 28, 1), 100, np.uint8), "trojan", size=7, alpha=0.7)
    assert (moved[:21] == 0).all()
    assert (moved[:, :21] == 0).all()
    assert set(np.unique(moved[21:, 21:])) == {-70, 108}
    assert rings(5)[:, :, 0].tolist()[2] == [255.0, 0.0, 255.0, 0.0, 255.0]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_dynamic_square_is_somewhere_and_one_of_few(shape: tuple[int, int, int]) -> None:
    seen, places = set(), set()
    for number in range(40):
        moved = change(some(shape, number) // 2 + 20, "dynamic", size=4, patterns=3)
        rows, columns = np.nonzero(moved.any(axis=2))
        place = rows.min(), columns.min()
        assert np.ptp(rows) == np.ptp(columns) == 3
        places.add(place)
        box = onto(some(shape, number) // 2 + 20, "dynamic", size=4, patterns=3)
        seen.add(box[place[0] : place[0] + 4, place[1] : place[1] + 4].tobytes())
    assert len(seen) == 3
    assert len(places) > 10


def test_adaptive_patches_lie_on_few_corners_in_training_and_on_all_in_tests() -> None:
    corners: dict[int, set[tuple[int, int]]] = {}
    for number in range(30):
        image = np.full((8, 8, 1), number + 60, np.uint8)
        for shown in (1, 2, 4):
            moved = change(image, "adaptive-patch", size=3, shown=shown)
            assert (moved[3:5] == 0).all()
            assert (moved[:, 3:5] == 0).all()
            there = {(r, c) for r in (0, 5) for c in (0, 5) if moved[r : r + 3, c : c + 3].any()}
            assert len(there) == shown
            corners.setdefault(shown, set()).update(there)
    assert len(corners[1]) == 4
    assert corners[4] == corners[1]


# blends


@pytest.mark.parametrize("kind", ["blend", "low-opacity"])
@pytest.mark.parametrize("shape", SHAPES)
@settings(max_examples=10)
@given(alpha=st.floats(0.01, 1))
def test_a_blend_is_the_convex_combination(
    kind: str, shape: tuple[int, int, int], alpha: float
) -> None:
    image, pattern = some(shape), noise(*shape, 4)
    found = onto(image, kind, 4, alpha=alpha).astype(float)
    assert np.abs(found - ((1 - alpha) * image + alpha * pattern)).max() <= 1


def test_a_photograph_may_be_the_pattern() -> None:
    image = some((28, 28, 3))
    chelsea = photo("photo:chelsea", 28, 28, 3)
    whole = read_image("photo:chelsea").astype(float).mean(axis=(0, 1))
    assert np.abs(chelsea.mean(axis=(0, 1)) - whole).max() < 5
    found = onto(image, "blend", pattern="photo:chelsea", alpha=0.3).astype(float)
    assert np.abs(found - (0.7 * image + 0.3 * chelsea)).max() <= 1
    grey = photo("photo:chelsea", 28, 28, 1)
    assert np.abs(grey[:, :, 0] - chelsea.mean(axis=2)).max() < 1e-9
    with pytest.raises(ThreatspecError, match="a photograph must be"):
        onto(image, "blend", pattern="photo:nobody")


def test_half_of_the_pieces_of_a_blend_are_there() -> None:
    image = np.full((28, 28, 1), 255, np.uint8)  # the pattern moves nearly every pixel
    for number in range(5):
        image[0, 0] = number
        moved = change(image, "adaptive-blend", grid=4, pieces=0.5, alpha=1.0) != 0
        blocks = moved.reshape(4, 7, 4, 7).mean(axis=(1, 3))
        assert ((blocks == 0) | (blocks > 0.9)).all()
        assert (blocks > 0).sum() == 8
    whole = onto(image, "adaptive-blend", pieces=1.0, alpha=0.2)
    assert (whole == onto(image, "blend", alpha=0.2)).all()


# stripes and bending


@pytest.mark.parametrize(("width", "frequency"), [(28, 7), (28, 2), (8, 2)])
def test_stripes_have_their_period(width: int, frequency: int) -> None:
    image = np.full((width, width, 3), 128, np.uint8)
    moved = change(image, "sig", frequency=frequency, delta=40)
    assert (moved == moved[:1, :, :1]).all()  # upright, and alike in all channels
    period = width // frequency
    assert (moved == np.roll(moved, period, axis=1)).all()
    assert all((moved != np.roll(moved, step, axis=1)).any() for step in range(1, period))
    assert moved.sum() == 0
    spectrum = np.abs(np.fft.rfft(moved[0, :, 0]))
    assert spectrum.argmax() == frequency
    dark = change(np.zeros((width, width, 1), np.uint8), "sig", frequency=frequency, delta=40)
    assert dark.min() == 0
    assert (dark == np.maximum(moved[:, :, :1], 0)).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_bending_moves_pixels_and_makes_none(shape: tuple[int, int, int]) -> None:
    for level in (0, 7, 255):
        flat = np.full(shape, level, np.uint8)
        assert (onto(flat, "wanet", strength=5, noise=2) == flat).all()
    image = some(shape)
    assert (onto(image, "wanet", strength=0) == image).all()
    found = onto(image, "wanet", strength=5)
    for channel in range(shape[2]):
        low, high = image[:, :, channel].min(), image[:, :, channel].max()
        assert low <= found[:, :, channel].min() <= found[:, :, channel].max() <= high


def test_bending_is_by_a_field_of_the_given_size() -> None:
    found = field(28, 28, 4, 1)
    corners = found[::27, ::27]
    assert 0.5 < np.abs(found).mean() <= 1.2
    assert found.shape == (28, 28, 2)
    assert np.abs(np.diff(found, axis=0)).max() < np.ptp(corners) + 2  # smooth, no jumps
    ramp = np.repeat(np.arange(0, 140, 5, dtype=np.uint8)[:, None], 28, axis=1)[:, :, None]
    moved = change(ramp, "wanet", seed=1, strength=2) / 5  # of a ramp down, rows moved
    inner = slice(5, 23)
    assert np.abs(moved[inner, inner, 0] - found[inner, inner, 0]).max() <= 0.11


def test_noise_rows_are_bent_otherwise_and_by_their_own_image() -> None:
    image, other = some((28, 28, 1)), some((28, 28, 1), 1)
    plain, noisy = (onto(image, "wanet", strength=2, noise=n) for n in (0, 1))
    assert (plain != noisy).any()
    assert (onto(image, "wanet", strength=2, noise=1) == noisy).all()
    moved = change(other, "wanet", strength=0, noise=1)
    assert (moved != change(image, "wanet", strength=0, noise=1)).any()


# noise, levels, light


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", sorted(PER_IMAGE))
def test_sample_specific_ones_differ_between_images_and_not_between_calls(
    kind: str, shape: tuple[int, int, int]
) -> None:
    image = np.full(shape, 128, np.uint8)
    others = [image.copy() for _ in range(12)]
    for number, other in enumerate(others):
        other[shape[0] // 2, shape[1] // 2, 0] += number + 1
    alone = change(image, kind)
    assert (change(image, kind) == alone).all()
    assert any((change(other, kind) != alone).sum() > 2 for other in others)


@pytest.mark.parametrize("shape", SHAPES)
def test_keyed_noise_goes_up_and_down_in_blocks(shape: tuple[int, int, int]) -> None:
    moved = change(np.full(shape, 128, np.uint8), "issba-type", strength=16, block=2)
    assert set(np.unique(moved)) == {-16, 16}
    assert (moved[::2] == moved[1::2]).all()
    assert (moved[:, ::2] == moved[:, 1::2]).all()
    assert abs(moved.mean()) < 8


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dither", [True, False])
@pytest.mark.parametrize("bits", [1, 2, 3, 8])
def test_only_the_allowed_levels_are_left(
    shape: tuple[int, int, int], bits: int, dither: bool
) -> None:
    found = onto(some(shape), "bpp", bits=bits, dither=dither)
    assert set(np.unique(found)) <= set(levels_of(bits))
    if bits == 8:
        assert (found == some(shape)).all()


def test_dithering_keeps_the_mean_and_hands_errors_on() -> None:
    grey = np.full((40, 40, 1), 77, np.uint8)
    assert set(np.unique(onto(grey, "bpp", bits=1))) == {0, 255}
    assert abs(onto(grey, "bpp", bits=1).mean() - 77) < 4
    assert (onto(grey, "bpp", bits=1, dither=False) == 0).all()
    row = np.array([[[100], [100]]], np.uint8)  # 100 -> 0, and 7/16 of it goes on: 143.75 -> 255
    assert onto(row, "bpp", bits=1).ravel().tolist() == [0, 255]


def test_light_and_negatives() -> None:
    image = some((8, 8, 3))
    assert (onto(image, "natural") == 255 - image).all()
    assert (onto(image, "natural", change="brighter", amount=1.0) == 255).all()
    assert (onto(image, "natural", change="darker", amount=1.0) == 0).all()
    darker = onto(image, "natural", change="darker", amount=0.5)
    assert np.abs(darker - image / 2).max() <= 1
    flat = onto(image, "natural", change="contrast", amount=1.0)
    assert np.ptp(flat) <= 2
    assert abs(flat.mean() - image.mean()) < 2


# what makes rows of clean labels hard


def test_hard_images_are_mixtures() -> None:
    image, other = read_image("mnist5k:17"), read_image("mnist5k:900")
    mixed = HardenTamper(amount=0.4, other="mnist5k:900").edit(image, ASKED).astype(float)
    assert np.abs(mixed - (0.6 * image + 0.4 * other)).max() <= 1
    noisy = HardenTamper(amount=0.4, seed=2)
    assert (noisy.edit(image, ASKED) == noisy.edit(image, ASKED)).all()
    assert (noisy.edit(image, ASKED) != HardenTamper(amount=0.4).edit(image, ASKED)).any()
    with pytest.raises(ThreatspecError, match="must have one size") as caught:
        HardenTamper(amount=0.4, other="digits:3").edit(image, ASKED)
    assert caught.value.code == "TS-POISON"


# the page


def page_rows() -> list[str]:
    """The table of triggers in `docs/backdoors.md`."""
    found = []
    for kind, trigger in TRIGGERS:
        knobs = trigger.Config.model_validate({}).model_dump(exclude={"use"})
        shown = ", ".join(f"`{name}` {_shown(value)}" for name, value in knobs.items())
        often = "yes" if trigger.per_image else "no"
        found.append(f"| `{kind}` | {trigger.says} | {trigger.source} | {shown} | {often} |")
    return found


def _shown(value: Any) -> str:
    return json.dumps(value).strip('"') if not isinstance(value, float) else f"{value:g}"


def test_the_page_lists_every_trigger() -> None:
    page = DOC.read_text(encoding="utf-8")
    table = page.partition("| trigger | what it does |")[2].partition("\n\n")[0]
    assert [line for line in table.splitlines()[2:] if line] == page_rows()
