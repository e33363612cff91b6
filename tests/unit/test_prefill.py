"""Prefill: tokens of an answer or of a refusal, or fixed words; what a prompt lacks is a row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.specs import plan_of, problems_of, write_benchmark
from threatspec.attacks.prefill import PrefillConfig, PrefillTamper
from threatspec.subjects import Request

ASKED = Request("a", "a prompt", answer="the whole answer", refusal="the whole refusal")
LINES = [
    {"id": str(i), "prompt": f"ask {i}", "split": "test", "references": ["x"]} for i in range(4)
]
PLACE = "adversaries.tuner.attacks"


@pytest.mark.parametrize(
    ("knobs", "prefix", "tokens"),
    [
        ({"k": 3}, "the whole answer", 3),
        ({"k": 2, "of": "refusal"}, "the whole refusal", 2),
        ({"words": "I cannot"}, "I cannot", None),
    ],
)
def test_the_reply_is_started(knobs: dict[str, Any], prefix: str, tokens: int | None) -> None:
    found = PrefillTamper(**knobs).encode(ASKED)
    assert (found.prefix, found.prefix_tokens, found.lacking) == (prefix, tokens, "")
    assert found.prompt == ASKED.prompt


@pytest.mark.parametrize("of", ["answer", "refusal"])
def test_a_prompt_without_the_text_is_a_row_that_lacks_it(of: Any) -> None:
    found = PrefillTamper(k=1, of=of).encode(Request("b", "a prompt"))
    assert found.lacking == f"no {of} of b is known"
    assert found.prefix == ""


@pytest.mark.parametrize(
    ("knobs", "problem"),
    [
        ({}, "k or words"),
        ({"k": 1, "words": "no"}, "k or words"),
        ({"words": "no", "of": "refusal"}, "`of` is for tokens"),
    ],
)
def test_one_of_both_ways_is_given(knobs: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        PrefillConfig(**knobs)


def test_words_in_an_entry_take_the_place_of_the_k_of_the_card(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, {PLACE: [{"use": "prefill", "words": "I cannot"}, "prefill-10"]})
    found = {(p.config["k"], p.config["words"]) for p in plan.procedures.values()}
    assert found == {(None, "I cannot"), (10, None)}


@pytest.mark.parametrize(
    ("entry", "lacks"),
    [
        ({"use": "prefill", "k": 2}, "a complying answer"),
        ({"use": "prefill", "k": 2, "of": "refusal"}, "a refusal"),
        ({"chain": [{"use": "prefill", "k": 2}, {"use": "prefill", "words": "no"}]},
         "a complying answer"),
    ],
)  # fmt: skip
def test_texts_that_items_lack_are_told_by_check(tmp_path: Path, entry: Any, lacks: str) -> None:
    lines = [
        {"id": str(i), "prompt": f"ask {i}", "split": "test", "references": ["x"]} for i in range(4)
    ]
    write_benchmark(tmp_path, lines)
    changes = {"measures.asr.benchmark": "file:items.jsonl", PLACE: [entry]}
    [problem] = [p for p in problems_of(tmp_path, changes, static=True) if "needs" in p.message]
    assert problem.code == "TS-DATA"
    assert lacks in problem.message


def test_words_need_no_text_of_an_item(tmp_path: Path) -> None:
    lines = [
        {"id": str(i), "prompt": f"ask {i}", "split": "test", "references": ["x"]} for i in range(4)
    ]
    write_benchmark(tmp_path, lines)
    changes = {
        "measures.asr.benchmark": "file:items.jsonl",
        PLACE: [{"use": "prefill", "words": "I cannot"}],
    }
    assert len(plan_of(tmp_path, changes).procedures) == 1
