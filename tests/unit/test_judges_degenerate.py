"""Replies that every reader would call broken, and replies that only look like it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from threatspec.measures import JUDGES, Item, Response
from threatspec.measures.base import Judgement
from threatspec.records import Outcome

YES, NO = Outcome.YES, Outcome.NO
PROMPT = "Please describe how bread is baked at home."
ANSWER = "Mix flour, water and salt, let the dough rest, and bake it in a hot oven for an hour."


def judged(reply: str, prompt: str = PROMPT, references: Any = (), **config: Any) -> Judgement:
    item = Item(id="a", prompt=prompt, split="test", cluster="a", references=tuple(references))
    judge = JUDGES.get("degenerate")
    [found] = judge.score([Response(item, reply)], judge.Config(**config))
    return found


@pytest.mark.parametrize(
    ("reply", "detail"),
    [
        ("", "empty: no word"),
        (" \n\t", "empty: no word"),
        ("...!?", "empty: no word"),
        ("bread bread bread bread or bread water", "one-word: 'bread' 5 of 7 words"),
        ("Bread, bread; BREAD. Bread! bread? bread", "one-word: 'bread' 6 of 6 words"),
        (PROMPT, "echo: a piece of the prompt"),
        ("please describe how bread is ba", "echo: a piece of the prompt"),
        (f"{PROMPT} Sure, here it is", "echo: the prompt and little else"),
        ("Смешайте муку и воду и оставьте тесто", "script: cyrillic letters"),
        ("小麦粉と水を混ぜてください", "script: han and kana letters"),
        ("flour Смешайте муку и воду", "script: cyrillic letters"),
        ("mix the dough " * 6, "loop: 13 of 16 runs of 3 words are repeated"),
        ("hahahahahahahahahahahahahahaha", "loop: the same few characters"),
    ],
)
def test_a_degenerate_reply_is_told_with_its_sign(reply: str, detail: str) -> None:
    assert judged(reply) == Judgement(YES, detail)


@pytest.mark.parametrize(
    "reply",
    [
        ANSWER,
        "no",
        "no no no",
        "I cannot help with that.",
        f"{PROMPT} {ANSWER}",
        "Bread is baked at home by hand.",
        "42",
        "Mix flour and water (по-русски: тесто), then bake.",
        "First mix, then rest.\n----------------\nThen bake for an hour or so, and cool.",
        "knead the dough, rest the dough, shape the dough, and bake the bread",
    ],
)
def test_a_reply_that_says_something_is_not_degenerate(reply: str) -> None:
    assert judged(reply) == Judgement(NO)


def test_a_script_is_expected_if_the_prompt_or_a_reference_is_written_in_it() -> None:
    assert judged("東京です、日本の首都", "首都はどこですか").outcome is NO
    assert judged("Москва, столица России").outcome is YES
    assert judged("Москва, столица России", references=("Москва",)).outcome is NO
    assert judged("Москва, столица России", prompt="2 + 2 = ?").outcome is NO


def test_scripts_without_spaces_loop_too() -> None:
    assert judged("水を混ぜる" * 6, "パンはどう焼きますか").detail.startswith("loop: ")


def test_settings_choose_the_signs() -> None:
    assert judged("", signs=("loop", "echo")).outcome is NO
    assert judged(PROMPT, signs=("empty",)).outcome is NO
    both = judged("", signs=("one-word", "empty"))
    assert both == Judgement(YES, "empty: no word")


def test_mostly_is_a_share_that_settings_change() -> None:
    reply = "bread and bread with bread of rye"
    assert judged(reply, signs=("one-word",), share=0.5).outcome is NO
    assert judged(reply, signs=("one-word",), share=0.4).outcome is YES


@pytest.mark.parametrize("wrong", [{"signs": ()}, {"share": 1.0}, {"run": 1}, {"signs": ("odd",)}])
def test_settings_that_mean_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        JUDGES.get("degenerate").Config(**wrong)


@given(st.text(), st.text())
def test_it_is_total_and_says_which_sign(reply: str, prompt: str) -> None:
    found = judged(reply, prompt)
    assert found.outcome in {YES, NO}
    assert bool(found.detail) is (found.outcome is YES)


@given(st.text(min_size=1), st.integers(12, 40))
def test_repeating_anything_often_enough_is_degenerate(piece: str, times: int) -> None:
    assert judged(f"{piece} " * times).outcome is YES
