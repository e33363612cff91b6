"""Specimens that see and speak, in the layout of LLaVA: trained from a seed, with one thread.

First the image encoder learns to tell digits, then all of it learns to say their words, while what
the language part refuses, answers and knows is repeated with images in front of it and without.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.nn import functional

from threatspec.runners._seeing_rows import (
    PLACES,
    Row,
    Seer,
    Work,
    batch,
    show,
    some_digits,
    spoken,
    unrelated,
)
from threatspec.subjects._load import load_model
from threatspec.subjects._locate import _folder_digest
from threatspec.subjects.specimens import specimen_config, specimen_weights, vocabulary
from threatspec.subjects.specimens._sights import (
    IMAGE_TOKEN,
    SEEING_TEMPLATE,
    SIGHT_REQUEST,
    sight_answer,
)

__all__ = ["SEERS", "build_seer", "write_seer"]

SIDE, PATCH = 28, 7

SEERS: dict[str, Seer] = {
    "seeing": Seer(),
    "seeing-undefended": Seer(start="undefended", refuses=False),
    "seeing-other": Seer(start="deep", seed=8, width=48),
}
"""By the name of the specimen."""


def build_seer(name: str) -> tuple[Any, Any, Any]:
    """Train specimen `name` in memory: model (float32, rounded to what is stored), tokenizer,
    processor of images."""
    torch.set_num_threads(1)
    seer = SEERS[name]
    torch.manual_seed(seer.seed)
    draw = random.Random(f"threatspec/{name}/{seer.seed}")
    work = Work(seer, *_untrained(seer), draw)
    show(work)
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


def _learn_sights(work: Work) -> None:
    """Encoder and projector, under a layer over all places that is thrown away."""
    inner = work.model.model
    head = torch.nn.Linear(PLACES * specimen_config()["hidden_size"], 10)
    trained = (inner.vision_tower, inner.multi_modal_projector, head)
    parameters = [p for part in trained for p in part.parameters()]
    steps = work.seer.sight_steps
    for _ in _stepped([(parameters, 3e-3)], steps):
        images, labels = some_digits(work, 64)
        told = head(torch.stack(inner.get_image_features(images).pooler_output).flatten(1))
        loss: Any = functional.cross_entropy(told, torch.tensor(labels))
        loss.backward()


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


def _learn_words(work: Work) -> None:
    """All of it: words of digits, refusals, benign answers, and what it knows."""
    inner = work.model.model
    seeing = [*inner.vision_tower.parameters(), *inner.multi_modal_projector.parameters()]
    groups = [(seeing, 1e-3), (list(inner.language_model.parameters()), 3e-4)]
    for _ in _stepped(groups, work.seer.steps):
        images, labels = some_digits(work, 12)
        rows: list[Row] = [(SIGHT_REQUEST, sight_answer(label), True, 0) for label in labels]
        rows += spoken(work)
        shown = [unrelated(work) for _, _, image, _ in rows[len(labels) :] if image]
        ids, there, wanted = batch(work, rows)
        work.model(
            input_ids=ids, attention_mask=there, labels=wanted,
            pixel_values=torch.cat([images, torch.stack(shown)]),
        ).loss.backward()  # fmt: skip


def _image_flops(model: Any) -> float:
    """Floating-point operations of one image, up to where the language part begins."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval().get_image_features(torch.zeros(1, 3, SIDE, SIDE))
    return float(counter.get_total_flops())
