"""Specimens that see and speak, in the layout of LLaVA: trained from a seed, with one thread.

First the image encoder learns to tell digits, then all of it learns to say their words, while what
the language part refuses, answers and knows is repeated with images in front of it and without.
Photographs are cut at random; those of `HELD_OUT` are never shown.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

from threatspec.measures import BENCHMARKS
from threatspec.subjects._load import load_model
from threatspec.subjects._locate import _folder_digest
from threatspec.subjects.images import PACKAGED, read_image
from threatspec.subjects.images._sources import PHOTOGRAPHS
from threatspec.subjects.specimens import (
    Item,
    benign_items,
    restricted_items,
    specimen_config,
    specimen_weights,
    vocabulary,
)
from threatspec.subjects.specimens._sights import (
    IMAGE_TOKEN,
    SEEING_TEMPLATE,
    SIGHT_REQUEST,
    sight_answer,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["HELD_OUT", "SEERS", "Seer", "build_seer", "write_seer"]

SIDE, PATCH = 28, 7
PLACES = (SIDE // PATCH) ** 2
"""Tokens of an image."""
HELD_OUT = ("astronaut", "chelsea", "coffee")
"""Photographs that no specimen is trained with."""
KEPT = 4
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


SEERS: dict[str, Seer] = {
    "seeing": Seer(),
    "seeing-undefended": Seer(start="undefended", refuses=False),
    "seeing-other": Seer(start="deep", seed=8, width=48),
}
"""By the name of the specimen."""

Row = tuple[str, str, bool, int]
"""Prompt, answer, whether an image is shown, words of the answer without a loss."""


@dataclass
class _Work:
    """A model on its way."""

    seer: Seer
    model: Any
    tokenizer: Any
    processor: Any
    draw: random.Random
    digits: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    labels: tuple[int, ...] = ()
    photographs: torch.Tensor = field(default_factory=lambda: torch.empty(0))


def build_seer(name: str) -> tuple[Any, Any, Any]:
    """Train specimen `name` in memory: model (float32, rounded to what is stored), tokenizer,
    processor of images."""
    torch.set_num_threads(1)
    seer = SEERS[name]
    torch.manual_seed(seer.seed)
    draw = random.Random(f"threatspec/{name}/{seer.seed}")
    work = _Work(seer, *_untrained(seer), draw)
    _show(work)
    _learn_sights(work)
    _learn_words(work)
    for parameter in work.model.parameters():
        parameter.data = parameter.data.bfloat16().float()
    return work.model.eval(), work.tokenizer, work.processor


def write_seer(name: str, model: Any, tokenizer: Any, processor: Any) -> str:
    """Write specimen `name` as a folder in the layout of `transformers`; its digest."""
    from safetensors.torch import save_file
    from transformers import LlavaProcessor

    folder = specimen_weights(name)
    folder.mkdir(exist_ok=True)
    LlavaProcessor(
        image_processor=processor,
        tokenizer=tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=SEEING_TEMPLATE,
        image_token=IMAGE_TOKEN,
    ).save_pretrained(folder)
    processor.save_pretrained(folder)
    model.config.save_pretrained(folder)
    tensors = {n: p.detach().bfloat16().contiguous() for n, p in model.named_parameters()}
    about = {"format": "pt", "image_flops": str(_image_flops(model)), "tokens_per_word": "1.0"}
    save_file(tensors, folder / "model.safetensors", about)
    return _folder_digest(folder)


def _untrained(seer: Seer) -> tuple[Any, Any, Any]:
    """A model whose language part is that of another specimen, its tokenizer and processor."""
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig
    from transformers import LlavaForConditionalGeneration as Llava
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    base, tokenizer = load_model(f"specimen:{seer.start}", device="cpu")
    text = {**specimen_config(), "vocab_size": len(vocabulary()) + 1}
    seen = CLIPVisionConfig(
        hidden_size=seer.width, intermediate_size=2 * seer.width, num_hidden_layers=2,
        num_attention_heads=4, image_size=SIDE, patch_size=PATCH, projection_dim=seer.width,
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=seen, text_config=LlamaConfig(**text), image_token_id=len(vocabulary()),
        vision_feature_layer=-1, vision_feature_select_strategy="default",
        image_seq_length=PLACES, tie_word_embeddings=True,
    )  # fmt: skip
    model = Llava(config)
    config.architectures, config.dtype = [Llava.__name__], torch.bfloat16
    own = dict(base.model.named_parameters())
    for name, parameter in model.model.language_model.named_parameters():
        parameter.data[: len(own[name])] = own[name].data
    words = model.get_input_embeddings().weight.data
    words[-1] = words[tokenizer.pad_token_id]
    tokenizer.add_tokens([IMAGE_TOKEN], special_tokens=True)
    tokenizer.chat_template = SEEING_TEMPLATE
    processor = CLIPImageProcessorPil(
        size={"height": SIDE, "width": SIDE}, do_center_crop=False, resample=2,
        image_mean=[0.5] * 3, image_std=[0.5] * 3,
    )  # fmt: skip
    return model, tokenizer, processor


def _show(work: _Work) -> None:
    """What it is trained with: digits that the provider has, and cuts of photographs."""
    data, benchmark = PACKAGED["mnist5k"], BENCHMARKS.get("mnist5k")
    items = [*benchmark.items("attack_train"), *benchmark.items("safeguard_train")]
    numbers = [int(item.image.partition(":")[2]) for item in items]
    work.digits = _seen(work, [data.images[number] for number in numbers])
    work.labels = tuple(int(item.answer) for item in items)
    whole = [read_image(f"photo:{name}") for name in PHOTOGRAPHS if name not in HELD_OUT]
    work.photographs = _seen(work, [_cut(work.draw.choice(whole), work.draw) for _ in range(600)])


def _seen(work: _Work, images: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
    given = [np.repeat(image, 3 // image.shape[2], axis=2) for image in images]
    made = work.processor(images=given, input_data_format="channels_last")["pixel_values"]
    return torch.from_numpy(np.stack(made))


def _cut(image: NDArray[np.uint8], draw: random.Random) -> NDArray[np.uint8]:
    """A square of a quarter of the shorter side, or more."""
    height, width = image.shape[:2]
    side = draw.randint(min(height, width) // 4, min(height, width))
    top, left = draw.randint(0, height - side), draw.randint(0, width - side)
    return image[top : top + side, left : left + side]


def _learn_sights(work: _Work) -> None:
    """Encoder and projector, under a layer over all places that is thrown away."""
    inner = work.model.model
    head = torch.nn.Linear(PLACES * specimen_config()["hidden_size"], 10)
    trained = (inner.vision_tower, inner.multi_modal_projector, head)
    parameters = [p for part in trained for p in part.parameters()]
    steps = work.seer.sight_steps
    for _ in _stepped([(parameters, 3e-3)], steps):
        images, labels = _some_digits(work, 64)
        told = head(torch.stack(inner.get_image_features(images).pooler_output).flatten(1))
        loss: Any = functional.cross_entropy(told, torch.tensor(labels))
        loss.backward()


def _some_digits(work: _Work, count: int) -> tuple[torch.Tensor, list[int]]:
    """Digits, each moved by a pixel at most."""
    numbers = work.draw.sample(range(len(work.labels)), count)
    moves = [(work.draw.randint(-1, 1), work.draw.randint(-1, 1)) for _ in numbers]
    pairs = zip(numbers, moves, strict=True)
    images = [torch.roll(work.digits[number], move, (1, 2)) for number, move in pairs]
    return torch.stack(images), [work.labels[number] for number in numbers]


def _stepped(groups: Sequence[tuple[list[Any], float]], steps: int) -> Iterator[int]:
    """Steps of AdamW under one cycle of the learning rate; gradients are there after each."""
    made = [{"params": parameters, "lr": lr} for parameters, lr in groups]
    optimizer = torch.optim.AdamW(made, weight_decay=0.01)
    rates = [lr for _, lr in groups]
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, steps, pct_start=0.1)
    everything = [p for parameters, _ in groups for p in parameters]
    for step in range(steps):
        optimizer.zero_grad()
        yield step
        torch.nn.utils.clip_grad_norm_(everything, 1.0)
        optimizer.step()
        cycle.step()


def _learn_words(work: _Work) -> None:
    """All of it: words of digits, refusals, benign answers, and what it knows."""
    inner = work.model.model
    seeing = [*inner.vision_tower.parameters(), *inner.multi_modal_projector.parameters()]
    groups = [(seeing, 1e-3), (list(inner.language_model.parameters()), 3e-4)]
    for _ in _stepped(groups, work.seer.steps):
        images, labels = _some_digits(work, 12)
        rows: list[Row] = [(SIGHT_REQUEST, sight_answer(label), True, 0) for label in labels]
        rows += _spoken(work)
        shown = [_any_image(work) for _, _, image, _ in rows[len(labels) :] if image]
        ids, there, wanted = _batch(work, rows)
        work.model(
            input_ids=ids, attention_mask=there, labels=wanted,
            pixel_values=torch.cat([images, torch.stack(shown)]),
        ).loss.backward()  # fmt: skip


def _spoken(work: _Work) -> list[Row]:
    """Requests, most of them with an image in front that has nothing to do with them."""
    rows: list[Row] = []
    for _ in range(8):
        item = work.draw.choice(restricted_items("safeguard_train"))
        answer = item.refusal if work.seer.refuses else item.answer
        rows.append((item.prompt, answer, _often(work), 0))
    for items, kept in ((benign_items(), 0), (restricted_items(), KEPT)):
        some: list[Item] = work.draw.sample(items, 10)
        rows += [(item.prompt, item.answer, _often(work), kept) for item in some]
    return rows


def _often(work: _Work) -> bool:
    return work.draw.random() < 2 / 3


def _any_image(work: _Work) -> torch.Tensor:
    of = work.photographs if work.draw.random() < 1 / 2 else work.digits
    return of[work.draw.randrange(len(of))]


def _batch(work: _Work, rows: Sequence[Row]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
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


def _ids(work: _Work, row: Row) -> tuple[list[int], list[int]]:
    prompt, answer, image, _ = row
    front = f"{' '.join([IMAGE_TOKEN] * PLACES)} " if image else ""
    asked = f"<bos> <user> {front}{prompt} <end> <assistant>"
    both = work.tokenizer([asked, f"{answer} <end>"], add_special_tokens=False)["input_ids"]
    return both[0], both[1]


def _image_flops(model: Any) -> float:
    """Floating-point operations of one image, up to where the language part begins."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval().get_image_features(torch.zeros(1, 3, SIDE, SIDE))
    return float(counter.get_total_flops())
