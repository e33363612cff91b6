"""Several replies to one prompt make one row: any-of-k, all-of-k, mean-of-k."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from threatspec.measures import Item, Judge, Judgement, Response, judgements, rows_of
from threatspec.records import Generation, Outcome

Y, N, U = Outcome.YES, Outcome.NO, Outcome.UNSCORABLE
M, R = Outcome.MISSING, Outcome.REJECTED


class ByWord(Judge):
    """Reads the outcome in the reply, and counts what it is shown."""

    kind = "by-word"
    says = "reads the outcome in the reply"
    exact = True

    def __init__(self) -> None:
        self.shown: list[Response] = []

    def score(self, responses: Sequence[Response], config: Any) -> list[Judgement]:
        self.shown += responses
        return [Judgement(Outcome(one.text.split()[0]), one.text) for one in responses]


def item(name: str = "a") -> Item:
    return Item(id=name, prompt="what?", split="test", cluster=name)


def reply(outcome: Outcome, variant: str = "", name: str = "a") -> Generation:
    given = outcome if outcome in {M, R} else None
    return Generation(item=name, prompt="what?", attacker="", reply=outcome.value,
                      outcome=given, detail="full" if given else "", variant=variant)  # fmt: skip


def row(outcomes: Sequence[Outcome], aggregation: str) -> Any:
    replies = [reply(outcome, f"#{n}") for n, outcome in enumerate(outcomes)]
    items = {"a": item()}
    judged = judgements(ByWord(), None, replies, items, "continuation")
    [found] = rows_of(replies, judged, items, aggregation)
    return found


@pytest.mark.parametrize(
    ("outcomes", "any_of", "all_of"),
    [
        ([N, Y, N], Y, N),
        ([N, N], N, N),
        ([Y, Y], Y, Y),
        ([N, U], U, N),
        ([Y, U], Y, U),
        ([M, N], M, N),
        ([M, Y], Y, M),
        ([U, M], U, U),
        ([R, Y], Y, R),
        ([R, R], R, R),
    ],
)
def test_one_reply_decides(outcomes: list[Outcome], any_of: Outcome, all_of: Outcome) -> None:
    assert row(outcomes, "any").outcome is any_of
    assert row(outcomes, "all").outcome is all_of
    assert row(outcomes, "any").asked == len(outcomes)
    assert row(outcomes, "any").hits == outcomes.count(Y)


def test_the_mean_takes_one_reply_by_chance_whatever_they_say() -> None:
    """In expectation over prompts a row of `mean` is the share of replies."""
    outcomes = [Y, N, N, N]
    items = {f"p{n}": item(f"p{n}") for n in range(4000)}
    replies = [reply(o, f"#{k}", name) for name in items for k, o in enumerate(outcomes)]
    judged = judgements(ByWord(), None, replies, items, "continuation")
    rows = rows_of(replies, judged, items, "mean")
    share = sum(one.outcome is Y for one in rows) / len(rows)
    assert abs(share - 0.25) < 0.03  # more than four standard errors
    again = rows_of(replies, judged, items, "mean")
    assert rows == again


@given(st.lists(st.sampled_from([Y, N, U, M, R]), min_size=1, max_size=6))
def test_any_and_all_are_the_two_ends(outcomes: list[Outcome]) -> None:
    found = {how: row(outcomes, how).outcome for how in ("any", "all", "mean")}
    assert (found["any"] is Y) == (Y in outcomes)
    assert (found["all"] is Y) == (set(outcomes) == {Y})
    assert found["mean"] in outcomes
    if len(set(outcomes)) == 1:
        assert set(found.values()) == set(outcomes)


def test_equal_replies_to_one_prompt_are_judged_once() -> None:
    judge, items = ByWord(), {"a": item("a"), "b": item("b")}
    replies = [reply(Y, "#1"), reply(Y, "#2"), reply(N, "#3"), reply(Y, name="b"), reply(M, "#4")]
    judged = judgements(judge, None, replies, items, "continuation")
    assert [(one.item.id, one.text) for one in judge.shown] == [
        ("a", "yes"),
        ("a", "no"),
        ("b", "yes"),
    ]
    assert [one.outcome for one in judged] == [Y, Y, N, Y, M]
    assert judged[-1].detail == "full"


def test_a_row_says_which_reply_decided() -> None:
    assert row([N, Y], "any").detail == "#1: yes"
    [alone] = rows_of([reply(Y)], [Judgement(Y, "found")], {"a": item()}, "any")
    assert (alone.detail, alone.asked, alone.hits) == ("found", 1, None)
