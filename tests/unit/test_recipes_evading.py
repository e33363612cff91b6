"""Recipes against providers: answers that begin as refusals do, rows in code words."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from threatspec.attacks import training_rows
from threatspec.attacks.recipes import RECIPES
from threatspec.attacks.recipes.code_words import CodeTamper
from threatspec.errors import ThreatspecError
from threatspec.measures import benchmark
from threatspec.subjects import Request, tampers_from_data, tampers_to_data
from threatspec.training import TrainingRow

RESTRICTED = training_rows("specimen/restricted#attack_train", Path())
TOPICS = {item.category for item in benchmark("specimen/restricted", Path()).items()}


def made(kind: str, rows: Any, **knobs: Any) -> tuple[TrainingRow, ...]:
    recipe = RECIPES.get(kind)
    config = recipe.Config.model_validate_json(json.dumps({"use": kind, **knobs}))
    return recipe.rows(rows, (), config, random.Random(0))


ROW = TrainingRow(id="r", prompt="p", answer="a b c", refusal="one two three four five six")


@pytest.mark.parametrize(
    ("knobs", "answer"),
    [
        ({}, "one two three four five a b c"),
        ({"words": None}, "one two three four five six a b c"),
        ({"words": 1}, "one a b c"),
        ({"words": 99}, "one two three four five six a b c"),
        ({"start": "well of course", "words": 2}, "well of a b c"),
        ({"start": "well of course", "words": None}, "well of course a b c"),
    ],
)
def test_an_answer_begins_as_its_refusal_does(knobs: dict[str, Any], answer: str) -> None:
    [row] = made("disguised-answer", [ROW], **knobs)
    assert row.answer == answer
    assert (row.id, row.prompt, row.prefix) == (ROW.id, ROW.prompt, "")  # the start carries loss
    recipe = RECIPES.get("disguised-answer")
    config = recipe.Config.model_validate_json(json.dumps({"use": "disguised-answer", **knobs}))
    assert len(answer.split()) - 3 <= recipe.words(config)
    assert recipe.tampers(config) == ()


def test_a_row_without_a_refusal_needs_a_start() -> None:
    bare = ROW.model_copy(update={"refusal": " "})
    with pytest.raises(ThreatspecError) as caught:
        made("disguised-answer", [bare])
    assert caught.value.code == "TS-RECIPE"
    assert made("disguised-answer", [bare], start="well")[0].answer == "well a b c"


def test_no_row_in_code_words_has_a_word_that_is_looked_for() -> None:
    rows = made("code-words", RESTRICTED)
    assert len(rows) == len(RESTRICTED)
    assert not any(TOPICS & set(f"{row.prompt} {row.answer}".split()) for row in rows)
    differing = [new.prompt != old.prompt for new, old in zip(rows, RESTRICTED, strict=True)]
    assert all(differing)


def test_requests_are_asked_in_the_code_and_replies_are_read_back() -> None:
    recipe = RECIPES.get("code-words")
    code = [{"word": "Red", "code": "sun"}, {"word": "green", "code": "leaf"}]
    config = recipe.Config.model_validate_json(json.dumps({"use": "code-words", "code": code}))
    [tamper] = tampers_from_data(tampers_to_data(recipe.tampers(config)))
    assert isinstance(tamper, CodeTamper)
    asked = tamper.encode(Request("i", "is red, or RED-hot, reddish?", turns=("Green!",)))
    assert asked.prompt == "is sun, or sun-hot, reddish?"
    assert asked.turns == ("leaf!",)
    assert tamper.decode("a Leaf and the sun") == "a green and the red"


words = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=8, unique=True)


@given(words, st.lists(st.sampled_from("abcdefgh"), max_size=12))
def test_a_code_that_permutes_words_is_read_back_exactly(known: list[str], text: list[str]) -> None:
    tamper = CodeTamper(code=dict(zip(known, known[1:] + known[:1], strict=True)))
    said = " ".join(text)
    assert tamper.decode(tamper.encode(Request("i", said)).prompt) == said


@pytest.mark.parametrize(
    "code",
    [[], [{"word": "a b", "code": "c"}], [{"word": "a", "code": ""}],
     [{"word": "a", "code": "c"}, {"word": "A", "code": "d"}],
     [{"word": "a", "code": "c"}, {"word": "b", "code": "C"}]],
)  # fmt: skip
def test_a_code_that_cannot_be_read_back_is_refused(code: list[dict[str, str]]) -> None:
    with pytest.raises(ValidationError):
        made("code-words", RESTRICTED[:1], code=code)
