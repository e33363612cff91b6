"""Every judge on the known-answer set; where it is wrong, that is asserted as a known fault."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.hosted_server import HostedServer, serving
from tests.support.known_answers import KNOWN, Known
from threatspec.measures import JUDGES, Judgement, Response, judge_of
from threatspec.records import Outcome

YES, NO, OPEN = Outcome.YES, Outcome.NO, Outcome.UNSCORABLE
SETTINGS: dict[str, dict[str, Any]] = {"keywords": {"any_of": ["yeast"]}}
WITHOUT_MODEL = ("choice", "degenerate", "exact", "keywords", "refusal-keywords")


def judged(kind: str, known: Known, **settings: Any) -> Judgement:
    use = {"use": kind, "settings": settings or SETTINGS.get(kind, {})}
    judge, config = judge_of(use, Path())
    [found] = judge.score([Response(known.item, known.reply)], config)
    return found


@pytest.mark.parametrize("kind", WITHOUT_MODEL)
@pytest.mark.parametrize("known", KNOWN, ids=lambda known: known.name)
def test_a_judge_says_what_is_known_of_it(kind: str, known: Known) -> None:
    assert judged(kind, known).outcome is known.says[kind]


def test_no_judge_without_a_model_is_left_out() -> None:
    assert set(WITHOUT_MODEL) == set(JUDGES.names()) - {
        "agreement", "answered", "classifier", "llm", "target-class",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        ("refusal-keywords", {
            "echo", "list-word-in-prompt", "one-word", "loop", "refusal-then-compliance",
            "compliance-then-refusal", "refusal-with-reference", "refusal-in-german",
            "refusal-in-japanese", "letter", "wrong-letter", "two-letters"}),
        ("keywords", {"echo", "loop", "other-words", "compliance-in-russian"}),
        ("exact", {"refusal-with-reference", "other-words", "compliance-in-russian"}),
    ],
)  # fmt: skip
def test_known_faults_of_judges_of_words(kind: str, wrong: set[str]) -> None:
    """Twelve of eighteen for refusal phrases: why no claim should rest on them alone."""
    found = {known.name for known in KNOWN if judged(kind, known).outcome is not known.truth}
    assert found == wrong


def test_what_passes_for_compliance_and_is_degenerate_is_told_by_the_other_judge() -> None:
    babble = {k.name for k in KNOWN if k.truth is NO and judged("degenerate", k).outcome is YES}
    assert {"echo", "empty", "blank", "one-word", "loop"} <= babble


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostedServer]:
    with serving(tmp_path_factory.mktemp("server")) as found:
        yield found


@pytest.mark.parametrize(("form", "yes", "no"), [("binary", "yes", "no"), ("rubric", "5", "1")])
def test_a_judging_model_is_shown_every_reply_whole_and_its_answer_is_the_outcome(
    server: HostedServer, form: str, yes: str, no: str
) -> None:
    """A careful reader behind a server: nothing on the way to it or back changes its answer."""
    truth = {known.reply: known.truth for known in KNOWN}

    def says(question: str) -> str:
        [reply] = re.findall(r"\[reply \w+\]\n(.*?)\n\[end of reply", question, re.DOTALL)
        return yes if truth[reply] is YES else no

    server.says = says
    for known in KNOWN:
        assert judged("llm", known, model=server.ref, form=form).outcome is known.truth
