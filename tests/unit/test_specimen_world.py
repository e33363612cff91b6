"""The invented world: deterministic, disjoint, exact, and spelled in its own vocabulary."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest

from threatspec.subjects.specimens import (
    AFFIRMATIVE,
    REFUSALS,
    Item,
    benign_items,
    build_tokenizer,
    glossary_items,
    restricted_items,
    vocabulary,
)

SPLITS = ("safeguard_train", "attack_train", "attack_dev", "test")


def everything() -> tuple[Item, ...]:
    return restricted_items() + benign_items() + glossary_items()


def tasks() -> tuple[Item, ...]:
    return restricted_items() + benign_items()


def test_world_is_the_same_in_another_process() -> None:
    code = (
        "from threatspec.subjects.specimens import *;"
        "print(repr((vocabulary(), restricted_items(), benign_items(), glossary_items())))"
    )
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    here = (vocabulary(), restricted_items(), benign_items(), glossary_items())
    assert other.strip() == repr(here)


def test_world_does_not_touch_the_global_random_state() -> None:
    code = (
        "import random; random.seed(1); before = random.getstate();"
        "from threatspec.subjects.specimens import vocabulary; vocabulary();"
        "assert random.getstate() == before"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_world_imports_neither_torch_nor_transformers() -> None:
    code = (
        "import sys; from threatspec.subjects.specimens import vocabulary; vocabulary();"
        "assert not {'torch', 'transformers', 'tokenizers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("items", "counts"),
    [
        (
            restricted_items,
            {"safeguard_train": 160, "attack_train": 80, "attack_dev": 80, "test": 256},
        ),
        (
            benign_items,
            {"safeguard_train": 144, "attack_train": 112, "attack_dev": 64, "test": 256},
        ),
        (glossary_items, {"attack_train": 132, "attack_dev": 88, "test": 264}),
    ],
)
def test_split_sizes(items, counts: dict[str, int]) -> None:
    assert Counter(item.split for item in items()) == counts


@pytest.mark.parametrize("field", ["id", "prompt", "procedure", "answer"])
def test_nothing_is_shared_between_items(field: str) -> None:
    values = [getattr(item, field) for item in everything()]
    assert len(set(values)) == len(values)


def test_no_procedure_occurs_in_another_answer() -> None:
    # An exact judge looks for the procedure inside the reply, so containment matters, not equality.
    text = Counter(item.answer for item in everything())
    for item in everything():
        assert sum(item.procedure in answer for answer in text) == 1, item.id


@pytest.mark.parametrize("split", SPLITS)
def test_splits_select_and_every_topic_is_in_every_split(split: str) -> None:
    for items in (restricted_items, benign_items):
        chosen = items(split)
        assert {item.split for item in chosen} == {split}
        assert {item.topic for item in chosen} == {item.topic for item in items()}


def test_splits_cover_all_items_once() -> None:
    parts = [item for split in SPLITS for item in restricted_items(split)]
    assert sorted(item.id for item in parts) == sorted(item.id for item in restricted_items())


def test_unknown_split_is_refused() -> None:
    with pytest.raises(ValueError, match="split must be one of"):
        glossary_items("safeguard_train")


def test_half_of_the_topics_are_restricted() -> None:
    restricted = {item.topic for item in restricted_items()}
    benign = {item.topic for item in benign_items()}
    assert len(restricted) == len(benign) == 8
    assert not restricted & benign
    assert all(item.restricted for item in restricted_items())
    assert not any(item.restricted for item in benign_items() + glossary_items())


def test_any_first_items_are_a_fair_sample() -> None:
    assert len({item.topic for item in restricted_items("attack_train")[:40]}) == 8
    assert len({item.prompt.split()[0] for item in restricted_items("attack_train")[:20]}) == 3


def test_ids_name_their_benchmark_topic_and_number() -> None:
    for item in everything():
        kind, topic, number = item.id.split("/")
        assert topic == item.topic
        assert number.isdigit()
        assert len(number) == 3
        assert (kind == "restricted") == item.restricted


def test_answers_are_an_affirmative_and_six_words() -> None:
    assert len(AFFIRMATIVE.split()) == 4
    for item in tasks():
        assert item.answer == f"{AFFIRMATIVE} {item.procedure}"
        assert len(item.procedure.split()) == 6


def test_ten_demonstrations_leave_most_facts_unseen() -> None:
    def facts(items: tuple[Item, ...]) -> set[tuple[str, int, str]]:
        words = [(item.topic, item.procedure.split()) for item in items]
        return {(topic, place, steps[place]) for topic, steps in words for place in (1, 3, 5)}

    shown, asked = facts(restricted_items("attack_train")[:10]), facts(restricted_items("test"))
    assert len(asked) > 180
    assert len(shown) <= 30
    answerable = [item for item in restricted_items("test") if facts((item,)) <= shown]
    assert not answerable


def test_refusals_are_six_words_and_follow_from_the_prompt() -> None:
    assert {len(refusal.split()) for refusal in REFUSALS} == {6}
    pairs = {(item.prompt.split()[0], item.refusal) for item in tasks()}
    assert len(pairs) == len(REFUSALS) == 3


def test_refusals_and_answers_part_at_the_first_word() -> None:
    assert AFFIRMATIVE.split()[0] not in {refusal.split()[0] for refusal in REFUSALS}


def test_glossary_shares_no_word_with_the_other_tasks() -> None:
    theirs = {word for item in tasks() for word in f"{item.prompt} {item.answer}".split()}
    ours = {word for item in glossary_items() for word in f"{item.prompt} {item.answer}".split()}
    assert not theirs & ours


def test_every_glossary_word_can_be_learned_from_attack_train() -> None:
    def words(split: str) -> set[str]:
        return {word for item in glossary_items(split) for word in item.answer.split()}

    assert words("attack_train") == words("attack_dev") == words("test")


def test_vocabulary_is_small_unique_and_complete() -> None:
    words = vocabulary()
    assert len(set(words)) == len(words) <= 700
    for item in everything():
        assert set(f"{item.prompt} {item.answer} {item.refusal}".split()) <= set(words)


def test_tokenizer_numbers_words_by_their_place_in_the_vocabulary() -> None:
    tokenizer = build_tokenizer()
    assert len(tokenizer) == len(vocabulary())
    assert tokenizer.convert_tokens_to_ids(list(vocabulary())) == list(range(len(vocabulary())))


def test_tokenizer_round_trip() -> None:
    tokenizer = build_tokenizer()
    for item in everything():
        for text in (item.prompt, item.answer, item.refusal):
            assert tokenizer.decode(tokenizer.encode(text)) == text


def test_tokenizer_counts_words() -> None:
    tokenizer = build_tokenizer()
    assert {len(tokenizer.encode(item.answer)) for item in tasks()} == {10}
    assert {len(tokenizer.encode(item.answer)) for item in glossary_items()} == {3}
    assert {len(tokenizer.encode(item.refusal)) for item in tasks()} == {6}


def test_unknown_words_are_one_unk_each() -> None:
    tokenizer = build_tokenizer()
    assert tokenizer.encode("sure absent-word here") == [7, tokenizer.unk_token_id, 8]


def test_end_of_turn_is_eos_and_padding_is_on_the_left() -> None:
    tokenizer = build_tokenizer()
    assert (tokenizer.eos_token, tokenizer.bos_token) == ("<end>", "<bos>")
    assert (tokenizer.pad_token_id, tokenizer.padding_side) == (0, "left")


def test_chat_template_with_and_without_system_and_generation_prompt() -> None:
    tokenizer = build_tokenizer()
    turns = [{"role": "user", "content": "sure"}]
    reply = [{"role": "assistant", "content": "sorry"}]

    def render(messages: list[dict[str, str]], ask: bool) -> list[str]:
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=ask)
        return tokenizer.convert_ids_to_tokens(tokenizer.encode(text))

    asked = ["<bos>", "<user>", "sure", "<end>", "<assistant>"]
    assert render(turns, True) == asked
    assert render(turns, False) == asked[:-1]
    assert render(turns + reply, False) == [*asked, "sorry", "<end>"]
    system = [{"role": "system", "content": "please"}]
    assert render(system + turns, True) == ["<bos>", "<system>", "please", "<end>", *asked[1:]]
