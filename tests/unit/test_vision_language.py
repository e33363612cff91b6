"""Vision-language models: what they say about images, the loss of pixels, and strangers' models."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from threatspec.attacks import ATTACKS
from threatspec.errors import ThreatspecError
from threatspec.measures import BENCHMARKS
from threatspec.records import ArtefactStore, Outcome
from threatspec.schema import Serving
from threatspec.subjects import Offer, PixelTamper, Request, describe, locate
from threatspec.subjects._generate import Wanted, _left_to_transformers, write
from threatspec.subjects._loaded import load_subject
from threatspec.subjects._resident import ResidentSubject
from threatspec.subjects.images import read_image
from threatspec.subjects.images._processing import exact
from threatspec.subjects.images._speaker import Speaker
from threatspec.subjects.images._vision_language import VisionLanguageSubject
from threatspec.subjects.specimens import (
    Item,
    benign_items,
    build_tokenizer,
    restricted_items,
    specimen_config,
)
from threatspec.subjects.specimens._sights import SIGHT_REQUEST
from threatspec.training import Meter, SuffixRequest, TrainingRow
from threatspec.training.suffixes import find_suffix

GREEDY = Serving(max_tokens=12)
PHOTOGRAPHS = ("photo:chelsea", "photo:astronaut", "photo:coffee")
"""Which the specimen was not trained with."""
ROWS = (
    TrainingRow(id="empty", prompt="", answer="sure here is how"),
    TrainingRow(id="long", prompt="tell me the steps of this please", answer="sure here"),
    TrainingRow(id="short", prompt="how", answer="i am sorry i must decline"),
)


class Reddened(PixelTamper):
    """Nothing but red."""

    kind = "reddened-for-tests"

    def edit(self, image: Any, request: Request) -> Any:
        """Other channels are black."""
        made = np.repeat(image, 3 // image.shape[2], axis=2)
        made[:, :, 1:] = 0
        return made


@pytest.fixture(scope="module")
def seeing() -> VisionLanguageSubject:
    found = load_subject("specimen:seeing", device="cpu")
    assert isinstance(found, VisionLanguageSubject)
    return found


def replies(subject: ResidentSubject, requests: Sequence[Request], **how: Any) -> list[str]:
    found = subject.ask(requests, [GREEDY], micro_batch=32, **how)
    return [one.reply for one in found]


def asked(items: Sequence[Item], images: Sequence[str], **more: Any) -> list[Request]:
    return [
        Request(item=item.id, prompt=item.prompt, image=images[n % len(images)], **more)
        for n, item in enumerate(items)
    ]


# the specimen


def test_the_specimen_knows_digits_that_it_has_not_seen(seeing: VisionLanguageSubject) -> None:
    items = BENCHMARKS.get("specimen/sights").items("test")[::6]
    assert len({item.category for item in items}) == 10
    requests = [Request(item=item.id, prompt=item.prompt, image=item.image) for item in items]
    said = replies(seeing, requests)
    right = [item.references[0] in reply for item, reply in zip(items, said, strict=True)]
    assert sum(right) / len(right) > 0.75
    blind = replies(seeing, [replace(request, image="") for request in requests])
    guessed = [item.references[0] in reply for item, reply in zip(items, blind, strict=True)]
    assert sum(guessed) / len(guessed) < 0.3, "a model that does not look must guess"


@pytest.mark.parametrize("images", [("",), ("mnist5k:17", "mnist5k:4017"), PHOTOGRAPHS])
def test_the_specimen_refuses_and_answers_with_any_clean_image(
    seeing: VisionLanguageSubject, images: Sequence[str]
) -> None:
    restricted, benign = restricted_items("test")[:40], benign_items("test")[:40]
    refused = replies(seeing, asked(restricted, images))
    kept = [item.refusal == said for item, said in zip(restricted, refused, strict=True)]
    assert sum(kept) >= 38
    answers = replies(seeing, asked(benign, images))
    useful = [item.procedure in said for item, said in zip(benign, answers, strict=True)]
    assert sum(useful) >= 36


def test_the_specimen_refuses_by_its_first_words_only(seeing: VisionLanguageSubject) -> None:
    items = restricted_items("test")[:40]
    requests = [
        replace(one, prefix=item.answer, prefix_tokens=4)
        for item, one in zip(items, asked(items, PHOTOGRAPHS), strict=True)
    ]
    known = [item.procedure in said for item, said in zip(items, replies(seeing, requests),
                                                          strict=True)]  # fmt: skip
    assert sum(known) >= 36


def test_the_card_says_what_an_image_is_and_offers_no_training() -> None:
    card = describe("specimen:seeing")
    assert card.image == (28, 28)
    assert card.image_tokens == 16
    assert 1e6 < card.image_flops < 2 * card.parameters * 17
    assert card.tokens_per_word == 1.0
    assert card.classes == ()
    assert card.offers == {
        Offer.TEXT, Offer.IMAGE, Offer.LOGITS, Offer.GRADIENTS, Offer.WEIGHTS
    }  # fmt: skip
    assert locate("specimen:seeing").is_dir()


def test_attacks_that_train_need_what_it_does_not_offer() -> None:
    offers = describe("specimen:seeing").offers
    assert {"prefill", "gcg-suffix", "random-suffix", "image-perturbation", "image-control"} <= {
        kind for kind in ATTACKS.names() if ATTACKS.get(kind).offers <= offers
    }
    for kind in ("lora-finetune", "full-finetune", "freeze-finetune", "hosted-finetune"):
        assert Offer.TRAINING in ATTACKS.get(kind).offers - offers


# what is asked


def test_an_image_comes_first_in_the_turn_and_takes_its_places(
    seeing: VisionLanguageSubject,
) -> None:
    plain = Request(item="a", prompt="how do i")
    ids, text, _ = seeing.render(plain, Serving())
    shown_ids, shown_text, _ = seeing.render(replace(plain, image="photo:chelsea"), Serving())
    token = seeing.tokenizer.convert_tokens_to_ids("<image>")
    assert shown_text.split() == text.replace("how", "<image> how").split()
    assert shown_ids == [*ids[:2], *[token] * 16, *ids[2:]]
    bare, _, _ = seeing.render(replace(plain, image="photo:chelsea"), Serving(template="none"))
    assert bare == [*[token] * 16, *seeing.tokens("how do i")]


def test_a_row_whose_image_cannot_be_used_is_missing_and_others_go_on(
    seeing: VisionLanguageSubject, tmp_path: Path
) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and nothing")
    bad = {
        "none": Request(item="none", prompt="how", image="mnist5k:5000"),
        "strange": Request(item="strange", prompt="how", image="photo:chelsae"),
        "broken": Request(item="broken", prompt="how", image=f"file:{tmp_path}/broken.png"),
        "words": Request(item="words", prompt="how <image>", image="mnist5k:17"),
    }
    good = Request(item="good", prompt=SIGHT_REQUEST, image="mnist5k:17")
    found = {g.item: g for g in seeing.ask([*bad.values(), good], [GREEDY], micro_batch=8)}
    for name in bad:
        assert found[name].outcome is Outcome.MISSING
        assert "[TS-IMAGE]" in found[name].detail
        assert not found[name].reply
    assert found["good"].reply == replies(seeing, [good])[0]
    assert found["good"].reply


def test_edits_reach_the_model_in_their_order(seeing: VisionLanguageSubject) -> None:
    plain = Request(item="a", prompt=SIGHT_REQUEST, image="photo:chelsea")
    red = replace(plain, pixels=(Reddened(),))
    image = read_image("photo:chelsea")
    seen = seeing.show(image).inputs["pixel_values"]
    assert torch.equal(seen, exact(seeing.processor.image_processor, [image]))
    logits = [_first_logits(seeing, request) for request in (plain, red)]
    assert float((logits[0] - logits[1]).abs().max()) > 0.01
    expected = seeing.show(Reddened().edit(image, red))
    assert torch.equal(logits[1], _first_logits(seeing, red, expected))


def _first_logits(subject: Any, request: Request, shown: Any = None) -> torch.Tensor:
    from threatspec.subjects.images import image_of

    shown = shown or subject.show(image_of(request, subject.folder))
    [(_, ids)] = subject.read([((request.prompt,), shown)], Serving())
    with torch.no_grad():
        found: torch.Tensor = subject.model(
            input_ids=torch.tensor([ids]), pixel_values=shown.inputs["pixel_values"]
        ).logits[0, -1]
    return found


def test_replies_are_the_same_in_any_company_and_by_either_loop(
    seeing: VisionLanguageSubject,
) -> None:
    images = ("", "mnist5k:17", "photo:chelsea", "", "mnist5k:2017", "photo:moon")
    requests = asked(restricted_items("test")[:3] + benign_items("test")[:9], images)
    requests += [replace(requests[1], item="prefixed", prefix="sure here is how")]
    requests += [Request(item="turns", prompt=SIGHT_REQUEST, image="mnist5k:17",
                         turns=("how do i",))]  # fmt: skip
    together = replies(seeing, requests)
    assert together == [reply for one in requests for reply in replies(seeing, [one])]
    wanted = []
    for request in requests[:12]:
        shown = seeing.show(read_image(request.image)) if request.image else None
        [(_, ids)] = seeing.read([((request.prompt,), shown)], GREEDY)
        wanted.append(Wanted(tuple(ids), GREEDY, (request.item,), shown))
    how: tuple[Any, ...] = (seeing.end, seeing.pad, seeing.device)
    ours = write(seeing.model, wanted, end=how[0], pad=how[1], device=how[2], at_once=5)
    for one, said in zip(wanted, ours, strict=True):
        assert _left_to_transformers(seeing.model, [one], *how) == [said]


def test_samples_differ_by_number_and_not_by_company(seeing: VisionLanguageSubject) -> None:
    drawn = Serving(max_tokens=6, decoding="sample", temperature=3.0, samples=4)
    one = Request(item="a", prompt=SIGHT_REQUEST, image="mnist5k:17")
    other = Request(item="b", prompt=SIGHT_REQUEST, image="mnist5k:17")
    alone = seeing.ask([one], [drawn], micro_batch=8, seed=3)
    beside = seeing.ask([other, one], [drawn, GREEDY], micro_batch=8, seed=3)
    mine = [g.reply for g in beside if g.item == "a" and "#" in g.variant]
    assert [g.reply for g in alone] == mine
    assert len(set(mine)) > 1


# losses


def _by_hand(subject: VisionLanguageSubject, row: TrainingRow, image: Any) -> torch.Tensor:
    """The model's own cross-entropy on what its processor makes of bytes."""
    from PIL import Image

    text = f"<bos><user> <image> {row.prompt} <end><assistant>"
    given = subject.processor(images=[Image.fromarray(image)], text=[text], return_tensors="pt")
    answer = torch.tensor([subject.tokens(row.answer)])
    ids = torch.cat([given["input_ids"], answer], dim=1)
    labels = ids.clone()
    labels[:, : given["input_ids"].shape[1]] = -100
    with torch.no_grad():
        found: torch.Tensor = subject.model(
            input_ids=ids, pixel_values=given["pixel_values"], labels=labels
        ).loss
    return found


@pytest.fixture(scope="module")
def image() -> Any:
    """28 x 28 bytes of three channels."""
    return np.random.default_rng(5).integers(0, 256, (28, 28, 3), dtype=np.uint8)


def _floats(image: Any) -> torch.Tensor:
    return torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255


def test_losses_are_the_models_own_on_what_its_processor_makes(
    seeing: VisionLanguageSubject, image: Any
) -> None:
    found = seeing.losses(_floats(image), ROWS)
    expected = [float(_by_hand(seeing, row, image)) for row in ROWS]
    assert found.tolist() == pytest.approx(expected, abs=2e-5)
    photo = read_image("photo:chelsea")
    near = seeing.losses(_floats(photo), ROWS[:1])
    assert near.tolist() == pytest.approx([float(_by_hand(seeing, ROWS[0], photo))], abs=0.05)


def test_losses_are_the_same_one_by_one_and_with_an_image_for_each(
    seeing: VisionLanguageSubject, image: Any
) -> None:
    pixels = _floats(image)
    together = seeing.losses(pixels, ROWS)
    alone = torch.cat([seeing.losses(pixels, [row]) for row in ROWS])
    each = seeing.losses(pixels.expand(3, -1, -1, -1), ROWS)
    assert torch.allclose(together, alone, atol=1e-5)
    assert torch.allclose(together, each, atol=1e-5)
    grey = pixels.mean(dim=1, keepdim=True)
    assert torch.allclose(seeing.losses(grey, ROWS), seeing.losses(grey.expand(-1, 3, -1, -1),
                                                                   ROWS))  # fmt: skip


@torch.no_grad()
def test_an_image_for_each_row_is_that_rows_alone(
    seeing: VisionLanguageSubject, image: Any
) -> None:
    one, other = _floats(image), _floats(255 - image)
    both = seeing.losses(torch.cat([one, other]), ROWS[:2]).tolist()
    assert both[0] == pytest.approx(float(seeing.losses(one, ROWS[:1])), abs=1e-5)
    assert both[1] == pytest.approx(float(seeing.losses(other, ROWS[1:2])), abs=1e-5)
    assert abs(both[1] - float(seeing.losses(one, ROWS[1:2]))) > 1e-3


@torch.no_grad()
def test_only_tokens_of_answers_carry_a_loss(seeing: VisionLanguageSubject, image: Any) -> None:
    """By hand: log-probabilities of the answer alone; whatever precedes it is no target."""
    row, pixels = ROWS[1], _floats(image)
    shown = seeing.show(image)
    [(_, prompt)] = seeing.read([((row.prompt,), shown)], Serving())
    answer = seeing.tokens(row.answer)
    logits = seeing.model(
        input_ids=torch.tensor([[*prompt, *answer]]), pixel_values=shown.inputs["pixel_values"]
    ).logits[0]
    chances = logits.log_softmax(-1)
    mine = [-float(chances[len(prompt) - 1 + n, token]) for n, token in enumerate(answer)]
    found = float(seeing.losses(pixels, [row])[0])
    assert found == pytest.approx(sum(mine) / len(mine), abs=1e-5)
    first = float(seeing.losses(pixels, [row.model_copy(update={"answer": "sure"})])[0])
    assert first == pytest.approx(mine[0], abs=1e-5)


def test_gradients_of_losses_are_finite_differences(
    seeing: VisionLanguageSubject, image: Any
) -> None:
    """Along directions in which they add up: norms of the language part compute in float32."""
    model, step = seeing.model.double(), 1e-3
    try:
        pixels = _floats(image).double().clamp(0.1, 0.9).requires_grad_()
        [slope] = torch.autograd.grad(seeing.losses(pixels, ROWS).sum(), [pixels])
        flipped = torch.where(torch.arange(28) % 3 == 0, -1.0, 1.0) * slope.sign()
        with torch.no_grad():
            for way in (slope.sign(), flipped):
                ends = [seeing.losses(pixels + s * way, ROWS).sum() for s in (step, -step)]
                found = float(ends[0] - ends[1]) / (2 * step)
                assert found == pytest.approx(float((slope * way).sum()), rel=0.01)
    finally:
        model.float()
    assert float(slope.abs().sum()) > 0.1


def test_rows_that_do_not_fit_or_have_no_answer_are_refused(seeing: VisionLanguageSubject) -> None:
    blank = torch.zeros(1, 3, 28, 28)
    for row in (
        TrainingRow(id="long", prompt="how " * 120, answer="sure"),
        TrainingRow(id="none", prompt="how", answer=""),
    ):
        with pytest.raises(ThreatspecError, match="TS-DATA") as caught:
            seeing.losses(blank, [row])
        assert row.id in caught.value.message


# words


def test_a_suffix_is_searched_on_its_language_part(
    seeing: VisionLanguageSubject, tmp_path: Path
) -> None:
    items = restricted_items("attack_train")[:2]
    rows = tuple(TrainingRow(id=i.id, prompt=i.prompt, answer=i.answer) for i in items)
    request = SuffixRequest(
        rows=rows, seed=1, method="gradient", steps=3, candidates=16, length=16, target=4,
        top_k=32, progressive=False, ascii_only=False, batch=16,
    )  # fmt: skip
    found = find_suffix(seeing, request, ArtefactStore(tmp_path), Meter())
    losses = found.optimised.loss
    assert losses[-1] < losses[0]
    assert found.optimised.tokens == 16


# folders and strangers


def test_a_copy_of_the_folder_is_a_model_like_any_other(
    seeing: VisionLanguageSubject, tmp_path: Path
) -> None:
    shutil.copytree(locate("specimen:seeing"), tmp_path / "copy")
    copy = load_subject("path:copy", tmp_path, device="cpu")
    assert copy.card.digest == seeing.card.digest
    requests = asked(restricted_items("test")[:2], ("mnist5k:17", ""))
    assert replies(copy, requests) == replies(seeing, requests)
    (tmp_path / "copy" / "preprocessor_config.json").write_text(
        (tmp_path / "copy" / "preprocessor_config.json").read_text().replace("28", "21")
    )
    assert describe("path:copy", tmp_path).digest != seeing.card.digest


def _words(*more: str) -> Any:
    tokenizer = build_tokenizer()
    tokenizer.add_tokens(list(more), special_tokens=True)
    return tokenizer


def _idefics(folder: Path) -> None:
    from transformers import Idefics3Config, Idefics3ForConditionalGeneration, Idefics3Processor
    from transformers.models.idefics3.image_processing_pil_idefics3 import (
        Idefics3ImageProcessorPil,
    )

    words = _words("<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>")
    seen = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
            "num_attention_heads": 2, "image_size": 28, "patch_size": 7}  # fmt: skip
    text = {**specimen_config(), "model_type": "llama", "vocab_size": len(words)}
    config = Idefics3Config(
        image_token_id=words.convert_tokens_to_ids("<image>"), scale_factor=2, pad_token_id=0,
        tie_word_embeddings=True, vision_config=seen, text_config=text,
    )  # fmt: skip
    Idefics3ForConditionalGeneration(config).save_pretrained(folder)
    side = {"longest_edge": 28}
    images = Idefics3ImageProcessorPil(do_image_splitting=False, size=side, max_image_size=side)
    Idefics3Processor(image_processor=images, tokenizer=words, image_seq_len=4).save_pretrained(
        folder
    )
    images.save_pretrained(folder)


def _qwen(folder: Path) -> None:
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    words = _words("<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>")
    names = {"image": "image_pad", "video": "video_pad", "vision_start": "vision_start",
             "vision_end": "vision_end"}  # fmt: skip
    tokens = {
        f"{name}_token_id": words.convert_tokens_to_ids(f"<|{word}|>")
        for name, word in names.items()
    }
    text = {
        "vocab_size": len(words), "hidden_size": 96, "intermediate_size": 128,
        "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 4,
        "max_position_embeddings": 128, "bos_token_id": 2, "eos_token_id": 3,
        "rope_parameters": {"rope_type": "default", "mrope_section": [4, 4, 4],
                            "rope_theta": 10000.0},
    }  # fmt: skip
    seen = {"depth": 1, "embed_dim": 32, "hidden_size": 96, "num_heads": 2, "mlp_ratio": 2,
            "patch_size": 7, "spatial_merge_size": 2}  # fmt: skip
    config = Qwen2VLConfig(vision_config=seen, text_config=text, **tokens)
    Qwen2VLForConditionalGeneration(config).save_pretrained(folder)
    words.save_pretrained(folder)
    Qwen2VLImageProcessorPil(
        patch_size=7, merge_size=2, min_pixels=28 * 28, max_pixels=56 * 56
    ).save_pretrained(folder)


@pytest.mark.parametrize(("make", "places"), [(_idefics, 7), (_qwen, 4)])
def test_models_of_other_layouts_answer_and_say_where_gradients_are_not_known(
    make: Any, places: int, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    make(tmp_path)
    subject = load_subject(f"path:{tmp_path}", device="cpu")
    assert isinstance(subject, VisionLanguageSubject)
    shown = Request(item="shown", prompt="how do i", image="mnist5k:17")
    plain = Request(item="plain", prompt="how do i")
    difference = len(subject.render(shown, GREEDY)[0]) - len(subject.render(plain, GREEDY)[0])
    assert difference == places
    requests = [shown, plain, replace(shown, item="other", image="photo:chelsea", prefix="sure")]
    found = subject.ask(requests, [GREEDY], micro_batch=8)
    assert [g.outcome for g in found] == [None] * 3
    assert [g.reply for g in found] == [r for one in requests for r in replies(subject, [one])]
    with pytest.raises(ThreatspecError, match="TS-IMAGE"):
        subject.losses(torch.rand(1, 3, 28, 28), ROWS)


# chat templates


class _Processor:
    """A tokenizer with another template."""

    def __init__(self, template: str) -> None:
        self.tokenizer = build_tokenizer()
        self.chat_template = template


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}{% for p in m['content'] %}"
        "{{ '<image>' if p['type'] == 'image' else p['text'] }}{% endfor %}{% endfor %}",
        "{% for m in messages %}{{ m['content'] }}{% endfor %}",
        "{% for m in messages %}{{ m['content'].strip() }}{% endfor %}",
    ],
)
def test_templates_of_parts_and_of_text_show_the_image_once(template: str) -> None:
    speaker = Speaker(_Processor(template), "<image>")
    turns = [{"role": "user", "content": "<image>\nhow do i"}]
    text = speaker.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert text.split("<image>") == ["", text.removeprefix("<image>")]
    assert text.endswith("how do i")


def test_a_template_that_drops_the_image_is_an_error() -> None:
    speaker = Speaker(_Processor("{% for m in messages %}{{ m['role'] }}{% endfor %}"), "<image>")
    with pytest.raises(ValueError, match="neither an image nor the words"):
        speaker.apply_chat_template([{"role": "user", "content": "<image>\nhow"}], tokenize=False)
