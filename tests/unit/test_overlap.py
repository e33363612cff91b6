"""Overlap of prompts: equal once spelling is evened out, near where what is rare is shared."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.specs import load, plan_of, problems_of, write_benchmark
from threatspec.campaign._overlap import overlap, overlaps
from threatspec.campaign._resolution import resolve
from threatspec.measures import Item, benchmark
from threatspec.measures._near import NEAR, NearIndex, normal_form, parts_of
from threatspec.measures.benchmarks import audited
from threatspec.records import Overlap

SPLITS = ("safeguard_train", "attack_train", "attack_dev", "test")
LONG = "explain to a beginner in plain words and step by step how the tides of the sea come about"


def items(*prompts: str, category: str = "") -> list[Item]:
    return [
        Item(id=str(n), prompt=prompt, split="test", cluster=str(n), category=category)
        for n, prompt in enumerate(prompts)
    ]


def counted(left: list[str], right: list[str]) -> tuple[int, int]:
    """Equal and near prompts of `left` in `right`, beside other prompts on both sides."""
    fill = [f"a filler about {word} and nothing else" for word in ("chalk", "moss", "tin", "rye")]
    found = overlap("l", items(*left, *fill[:2]), "r", items(*right, *fill[2:]))
    return found.equal, found.near


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is your name?", "what is your  name"),
        ("What's your name?", "WHAT S YOUR NAME"),
        ("Straße", "strasse"),
        ("ﬁle №5", "file no5"),
        ("caf\u00e9", "cafe\u0301"),
        ("a\tb\nc", "a b c"),
        ("snake_case", "snake case"),
        ("???", " ??? "),
        ("１２３", "123"),
    ],
)
def test_spelling_makes_no_difference(one: str, other: str) -> None:
    assert normal_form(one) == normal_form(other)
    assert counted([one], [other]) == (1, 1)


@pytest.mark.parametrize(
    ("one", "other"), [("What is your name?", "What is your game?"), ("c", "c++x"), ("?", "!")]
)
def test_other_words_do(one: str, other: str) -> None:
    assert counted([one], [other])[0] == 0


@given(st.text(max_size=60))
def test_evening_out_is_done_once(text: str) -> None:
    assert normal_form(normal_form(text)) == normal_form(text)


@pytest.mark.parametrize(
    ("other", "near"),
    [
        (LONG, 1),
        (f"Please {LONG}", 1),
        (f"{LONG}, thanks!", 1),
        (LONG.replace("come about", "rise"), 1),
        (LONG.replace("the tides of the sea come about", "a year has four seasons"), 0),
        ("how the tides of the sea come about", 0),
        ("something else altogether", 0),
    ],
)
def test_copies_with_a_word_changed_are_near(other: str, near: int) -> None:
    equal = int(other == LONG)
    assert counted([LONG], [other]) == (equal, near)


TEMPLATES = (
    "please explain to a beginner step by step and in every detail how to {} the {}",
    "i am writing a novel in which a very old man wonders about {} and about {} in the night",
    "how do i {} a {} ?",
)


@pytest.mark.parametrize("template", TEMPLATES)
def test_items_that_share_a_template_are_not_near(template: str) -> None:
    words = [f"w{n}" for n in range(60)]
    left = items(*(template.format(a, b) for a, b in zip(words[:15], words[15:30], strict=True)))
    right = items(*(template.format(a, b) for a, b in zip(words[30:45], words[45:], strict=True)))
    assert overlap("l", left, "r", right).near == 0
    again = [*right[:3], *left[3:]]
    assert overlap("l", left, "r", again).near == len(left) - 3


@pytest.mark.parametrize("name", ["specimen/restricted", "specimen/benign", "specimen/glossary"])
def test_splits_of_the_specimens_are_apart(name: str) -> None:
    own = {split: benchmark(name, Path()).items(split) for split in SPLITS}
    for left in SPLITS:
        for right in SPLITS:
            found = overlap(left, own[left], right, own[right])
            same = len(own[left]) if left == right else 0
            assert (found.equal, found.near) == (same, same), (left, right)


def test_counts_are_of_the_left_set_by_category() -> None:
    left = [*items("a b", "a b", "c d", category="x"), *items(LONG, "e f", category="y")]
    found = overlap("l", left, "r", items("A B!", f"{LONG} now", "a b"))
    assert found == Overlap(
        left="l", right="r", prompts=5, equal=2, near=3, categories={"x": 2, "y": 1}
    )


WORD = st.sampled_from(["red", "green", "blue", "iron", "salt", "wood", "leaf"])
PROMPTS = st.lists(st.lists(WORD, min_size=1, max_size=12).map(" ".join), min_size=1, max_size=8)


@settings(max_examples=150, deadline=None)
@given(PROMPTS, PROMPTS)
def test_looking_only_at_the_rarest_parts_loses_nothing(left: list[str], right: list[str]) -> None:
    """Against every pair compared in full."""
    mine = [parts_of(text) for text in dict.fromkeys(left) if text not in right]
    theirs = [parts_of(text) for text in dict.fromkeys(right)]
    weight = NearIndex(mine, theirs).weight

    def share(one: frozenset[str], other: frozenset[str]) -> float:
        return sum(map(weight, one & other)) / sum(map(weight, one | other))

    def near(text: str, least: float) -> bool:
        return text in right or any(share(parts_of(text), other) >= least for other in theirs)

    found = overlap("l", items(*left), "r", items(*right)).near
    assert sum(near(text, NEAR + 1e-9) for text in left) <= found
    assert found <= sum(near(text, NEAR - 1e-9) for text in left)


def test_ten_thousand_prompts_are_compared_by_what_is_rare() -> None:
    rng = random.Random(7)
    words = [f"w{n}" for n in range(3000)]
    left = [TEMPLATES[0].format(*rng.sample(words, 2)) for _ in range(10_000)]
    found = overlap("l", items(*left), "r", items(*(f"{text} now" for text in left[:100])))
    assert found.near >= 100


# of images


def pictures(*shown: str, prompt: str = "which class is shown ?") -> list[Item]:
    return [
        Item(id=image, prompt=prompt, image=image, split="test", cluster=image) for image in shown
    ]


@pytest.mark.parametrize("prompt", ["which class is shown ?", LONG])
def test_one_question_about_other_images_is_another_item(prompt: str) -> None:
    left = pictures("mnist5k:0", "mnist5k:1", "mnist5k:2", prompt=prompt)
    right = pictures("mnist5k:3", "mnist5k:2", prompt=prompt)
    found = overlap("l", left, "r", right)
    assert (found.prompts, found.equal, found.near) == (3, 1, 1)


def test_of_one_image_the_words_decide() -> None:
    left = pictures("mnist5k:0", prompt=LONG)
    found = [
        overlap("l", left, "r", pictures("mnist5k:0", prompt=prompt))
        for prompt in (LONG.upper(), f"{LONG} now", "which colour is it ?")
    ]
    assert [(one.equal, one.near) for one in found] == [(1, 1), (0, 1), (0, 0)]
    assert overlap("l", left, "r", items(LONG)).near == 0


def test_an_image_is_known_by_its_content_not_by_its_name(tmp_path: Path) -> None:
    from PIL import Image

    from threatspec.subjects.images import read_image

    pixels = read_image("mnist5k:7")[:, :, 0].copy()
    Image.fromarray(pixels).save(tmp_path / "copy.png")
    pixels[0, 0] += 1
    Image.fromarray(pixels).save(tmp_path / "other.png")
    left = pictures("file:copy.png", "file:other.png", "file:missing.png")
    found = overlap("l", left, "r", pictures("mnist5k:7", "file:missing.png"), tmp_path)
    assert (found.equal, found.near) == (2, 2)  # what cannot be read is known by its name


def test_splits_of_image_benchmarks_are_apart_and_one_without_a_class_is_a_part() -> None:
    whole, part = benchmark("mnist5k", Path()), benchmark("mnist5k/not-0", Path())
    test, clean = part.items("test"), whole.items("safeguard_train")
    assert overlap("l", test, "r", clean).near == 0
    found = overlap("l", test, "r", whole.items("test"))
    assert (found.equal, found.near) == (len(test), len(test))
    assert audited(whole).repetition.equal == audited(whole).repetition.near == 0


# of a spec


def row(name: str, prompt: str, split: str) -> dict[str, Any]:
    return {"id": name, "prompt": prompt, "split": split, "answer": "Yes.", "references": ["yes"]}


def shared(folder: Path, prompt: str) -> dict[str, Any]:
    """A spec whose measure reads `prompt`; its adversary trains on `How is the sea?`."""
    write_benchmark(folder, [row("a", prompt, "test"), row("b", "Why?", "test")], "asked")
    write_benchmark(folder, [row("c", "How is the sea?", "attack_train")], "rows")
    return {
        "measures.asr.benchmark": "file:asked.jsonl",
        "adversaries.tuner.data.harmful": {"n": 1, "from": "file:rows.jsonl#attack_train"},
    }


@pytest.mark.parametrize("static", [True, False])
def test_rows_that_repeat_a_measured_prompt_are_an_error(tmp_path: Path, static: bool) -> None:
    [found] = problems_of(tmp_path, shared(tmp_path, "how is  the sea"), static=static)
    assert (found.code, found.path) == ("TS-R7", "adversaries.tuner.data.harmful.from")
    assert "1 of 2 prompts of file:asked.jsonl#test stand among them" in found.message


def test_rows_that_are_only_near_are_none(tmp_path: Path) -> None:
    assert plan_of(tmp_path, shared(tmp_path, "How is the lake?"))


def test_an_adversary_that_no_claim_is_about_trains_on_nothing(tmp_path: Path) -> None:
    changes = shared(tmp_path, "How is the sea?")
    rows = changes.pop("adversaries.tuner.data.harmful")
    other = {
        "goal": "x",
        "access": "open-weights",
        "data": {"harmful": rows},
        "attacks": [{"use": "full-finetune"}],
    }
    assert plan_of(tmp_path, {**changes, "adversaries.other": other})


def test_what_is_compared(tmp_path: Path) -> None:
    found = resolve(load(tmp_path), models_must_exist=False)
    restricted, benign = "specimen/restricted", "specimen/benign"
    measured = [f"{restricted}#test", f"{benign}#test"]
    rows = f"{restricted}#attack_train"
    safeguards = [f"{restricted}#safeguard_train", f"{benign}#safeguard_train"]
    wanted = [(left, right) for left in measured for right in [rows, *safeguards]]
    wanted += [(rows, right) for right in safeguards]
    assert [(o.left, o.right) for o in overlaps(found)] == wanted
    assert plan_of(tmp_path).overlaps == overlaps(found)
    assert overlaps(found) is overlaps(found)
