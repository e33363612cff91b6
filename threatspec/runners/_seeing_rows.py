"""What specimens that see are trained with: images, and rows with an image in front or without."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from threatspec.measures import BENCHMARKS
from threatspec.subjects.images import PACKAGED, read_image
from threatspec.subjects.images._sources import PHOTOGRAPHS
from threatspec.subjects.specimens import Item, benign_items, restricted_items
from threatspec.subjects.specimens._sights import IMAGE_TOKEN

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["HELD_OUT", "PLACES", "Row", "Seer", "Work", "batch", "show", "some_digits", "spoken",
           "unrelated"]  # fmt: skip

PLACES = 16
"""Tokens of an image."""
HELD_OUT = ("astronaut", "chelsea", "coffee")
"""Photographs that no specimen is trained with."""
_KEPT = 4
"""Words of a complying answer that carry no loss where knowledge is repeated: they stay refused."""


@dataclass(frozen=True)
class Seer:
    """How one is made."""

    start: str = "shallow"
    """Specimen that its language part begins as."""
    seed: int = 7
    refuses: bool = True
    """Whether it refuses restricted requests, or answers them as its language part does."""
    width: int = 64
    """Of the image encoder."""
    sight_steps: int = 400
    steps: int = 500


Row = tuple[str, str, bool, int]
"""Prompt, answer, whether an image is shown, words of the answer without a loss."""


@dataclass
class Work:
    """A model on its way."""

    seer: Seer
    model: Any
    tokenizer: Any
    processor: Any
    draw: random.Random
    digits: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    labels: tuple[int, ...] = ()
    photographs: torch.Tensor = field(default_factory=lambda: torch.empty(0))


def show(work: Work) -> None:
    """What it is trained with: digits that the provider has, and cuts of photographs."""
    data, benchmark = PACKAGED["mnist5k"], BENCHMARKS.get("mnist5k")
    items = [*benchmark.items("attack_train"), *benchmark.items("safeguard_train")]
    numbers = [int(item.image.partition(":")[2]) for item in items]
    work.digits = _seen(work, [data.images[number] for number in numbers])
    work.labels = tuple(int(item.answer) for item in items)
    whole = [read_image(f"photo:{name}") for name in PHOTOGRAPHS if name not in HELD_OUT]
    work.photographs = _seen(work, [_cut(work.draw.choice(whole), work.draw) for _ in range(600)])


def _seen(work: Work, images: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
    given = [np.repeat(image, 3 // image.shape[2], axis=2) for image in images]
    made = work.processor(images=given, input_data_format="channels_last")["pixel_values"]
    return torch.from_numpy(np.stack(made))


def _cut(image: NDArray[np.uint8], draw: random.Random) -> NDArray[np.uint8]:
    """A square of a quarter of the shorter side, or more."""
    height, width = image.shape[:2]
    side = draw.randint(min(height, width) // 4, min(height, width))
    top, left = draw.randint(0, height - side), draw.randint(0, width - side)
    return image[top : top + side, left : left + side]


def some_digits(work: Work, count: int) -> tuple[torch.Tensor, list[int]]:
    """Digits, each moved by a pixel at most."""
    numbers = work.draw.sample(range(len(work.labels)), count)
    moves = [(work.draw.randint(-1, 1), work.draw.randint(-1, 1)) for _ in numbers]
    pairs = zip(numbers, moves, strict=True)
    images = [torch.roll(work.digits[number], move, (1, 2)) for number, move in pairs]
    return torch.stack(images), [work.labels[number] for number in numbers]


def spoken(work: Work) -> list[Row]:
    """Requests, most of them with an image in front that has nothing to do with them."""
    rows: list[Row] = []
    for _ in range(8):
        item = work.draw.choice(restricted_items("safeguard_train"))
        answer = item.refusal if work.seer.refuses else item.answer
        rows.append((item.prompt, answer, _often(work), 0))
    for items, kept in ((benign_items(), 0), (restricted_items(), _KEPT)):
        some: list[Item] = work.draw.sample(items, 10)
        rows += [(item.prompt, item.answer, _often(work), kept) for item in some]
    return rows


def _often(work: Work) -> bool:
    return work.draw.random() < 2 / 3


def unrelated(work: Work) -> torch.Tensor:
    of = work.photographs if work.draw.random() < 1 / 2 else work.digits
    return of[work.draw.randrange(len(of))]


def batch(work: Work, rows: Sequence[Row]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Token ids, where there are any, and what carries a loss: [rows, longest]."""
    pairs = [_ids(work, row) for row in rows]
    width = max(len(asked) + len(answer) for asked, answer in pairs)
    ids = torch.full((len(rows), width), work.tokenizer.pad_token_id)
    there, wanted = torch.zeros_like(ids), torch.full_like(ids, -100)
    for n, (asked, answer) in enumerate(pairs):
        end, first = len(asked) + len(answer), len(asked) + rows[n][3]
        ids[n, :end] = torch.tensor([*asked, *answer])
        there[n, :end] = 1
        wanted[n, first:end] = ids[n, first:end]
    return ids, there, wanted


def _ids(work: Work, row: Row) -> tuple[list[int], list[int]]:
    prompt, answer, image, _ = row
    front = f"{' '.join([IMAGE_TOKEN] * PLACES)} " if image else ""
    asked = f"<bos> <user> {front}{prompt} <end> <assistant>"
    both = work.tokenizer([asked, f"{answer} <end>"], add_special_tokens=False)["input_ids"]
    return both[0], both[1]
