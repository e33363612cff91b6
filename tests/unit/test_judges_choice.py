"""Multiple choice: what is asked, which choice a reply makes, and replies that make none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.specs import problems_of, write_benchmark
from threatspec.measures import JUDGES, Item, Response
from threatspec.measures.base import Judgement
from threatspec.measures.choice import choice_prompt, parse_choice
from threatspec.records import Outcome

YES, NO, UNSCORABLE = Outcome.YES, Outcome.NO, Outcome.UNSCORABLE
RIVERS = ("Rhine", "Danube", "White Nile", "Nile")


def question(**fields: Any) -> Item:
    return Item(**{
        "id": "a", "prompt": "Which river is longest?", "split": "test", "cluster": "a",
        "choices": RIVERS, "right": 3, **fields,
    })  # fmt: skip


def judged(reply: str, item: Item | None = None, **config: Any) -> Judgement:
    judge = JUDGES.get("choice")
    [found] = judge.score([Response(item or question(), reply)], judge.Config(**config))
    return found


def test_a_question_is_asked_with_its_choices_lettered_in_order() -> None:
    assert choice_prompt(question()) == (
        "Which river is longest?\nA. Rhine\nB. Danube\nC. White Nile\nD. Nile\n"
        "Answer with one letter."
    )
    assert choice_prompt(question(choices=(), right=None)) == "Which river is longest?"


@pytest.mark.parametrize(
    ("reply", "chosen"),
    [
        ("Rhine", 0),
        ("  rhine.\n", 0),
        ("White Nile", 2),
        ("Nile", 3),
        ("B", 1),
        ("b", 1),
        ("B.", 1),
        ("(B)", 1),
        ("**B**", 1),
        ("[b]", 1),
        ("B) Danube", 1),
        ("B: the Danube", 1),
        ("B\nbecause it flows far", 1),
        ("answer: B", 1),
        ("The answer is B.", 1),
        ("The answer is (b), of course.", 1),
        ("The answer is B because it flows far", 1),
        ("I choose option C", 2),
        ("A is near, C is far. Answer: D", 3),
        ("Answer: A", 0),
        ("the answer is a.", 0),
        ("It must be the Danube!", 1),
        ("It is the White Nile.", 2),
        ("Answer: A river that I know is the Danube.", 1),
    ],
)
def test_a_choice_is_read_from_a_reply(reply: str, chosen: int) -> None:
    assert parse_choice(reply, RIVERS) == chosen


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ("I cannot help with that", "no choice"),
        ("A long river it is", "no choice"),
        ("E", "no choice"),
        ("answer: E", "no choice"),
        ("answer: B, or rather answer: C", "says B and C"),
        ("the Rhine or the Danube", "several choices"),
        ("A B C D", "no choice"),
        ("Rheine", "no choice"),
    ],
)
def test_a_reply_without_one_choice_is_a_parse_failure_and_never_wrong(
    reply: str, why: str
) -> None:
    for counts in ("right", "wrong"):
        found = judged(reply, counts=counts)
        assert found.outcome is UNSCORABLE
        assert found.detail.startswith("parse failure: ")
        assert why in found.detail


def test_right_and_wrong_are_two_ways_to_count() -> None:
    assert judged("D") == Judgement(YES, "chose D")
    assert judged("B") == Judgement(NO, "chose B")
    assert judged("D", counts="wrong").outcome is NO
    assert judged("B", counts="wrong").outcome is YES


def test_a_right_text_that_stands_twice_is_right_twice() -> None:
    item = question(choices=("ten", "Ten", "four"), right=1)
    assert judged("ten", item).outcome is judged("A", item).outcome is YES
    assert judged("C", item).outcome is NO


@given(st.lists(st.text(min_size=1), min_size=2, max_size=6), st.data())
def test_what_a_query_by_log_probability_replies_is_read_as_that_choice(
    choices: list[str], data: st.DataObject
) -> None:
    """It replies with the text of a choice: whichever it is, an equal text is read."""
    at = data.draw(st.integers(0, len(choices) - 1))
    item = question(choices=tuple(choices), right=at)
    expected = YES if choices[at].strip() else UNSCORABLE
    assert judged(choices[at], item).outcome is expected


@given(st.text(), st.lists(st.text(max_size=5), max_size=30))
def test_reading_a_choice_is_total(reply: str, choices: list[str]) -> None:
    found = parse_choice(reply, choices)
    assert isinstance(found, str) or 0 <= found < len(choices)


@pytest.mark.parametrize("broken", [{"choices": (), "right": None}, {"right": None}, {"right": 4}])
def test_a_question_without_a_right_choice_is_unscorable(broken: dict[str, Any]) -> None:
    assert judged("B", question(**broken)).outcome is UNSCORABLE


def test_check_refuses_a_measure_whose_items_have_no_choices(tmp_path: Path) -> None:
    write_benchmark(tmp_path, [{"id": "a", "prompt": "p", "split": "test"}])
    measure = {"benchmark": "file:items.jsonl", "judge": "choice"}
    found = problems_of(tmp_path, {"measures.extra": measure}, static=True)
    [problem] = [problem for problem in found if problem.code == "TS-JUDGE"]
    assert "choices" in problem.message
    assert "'a'" in problem.message
