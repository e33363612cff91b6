"""A language model as the judge: what it is asked, and how strictly its answers are read.

The servers here are real ones on this machine; what they answer is a specimen's, or a function of
the question where a test needs a certain answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.support.hosted_server import HostedServer, serving
from tests.support.specs import problems_of
from threatspec.errors import ThreatspecError
from threatspec.measures import JUDGES, Item, Judgement, Response, judge_of, llm
from threatspec.measures._llm_forms import Form, question, read_answer
from threatspec.records import Outcome
from threatspec.testing import JudgeConformance

YES, NO, UNSCORABLE = Outcome.YES, Outcome.NO, Outcome.UNSCORABLE


def an_item(prompt: str) -> Item:
    return Item(id=prompt, prompt=prompt, split="test", cluster=prompt)


def judged(
    replies: list[tuple[str, str]], folder: Path = Path(), **settings: Any
) -> list[Judgement]:
    """Judgements of (prompt, reply)."""
    judge, config = judge_of({"use": "llm", "settings": settings}, folder)
    return judge.score([Response(an_item(prompt), reply) for prompt, reply in replies], config)


@pytest.fixture(scope="module")
def specimen_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostedServer]:
    with serving(tmp_path_factory.mktemp("server")) as found:
        found.hurries = True
        yield found


@pytest.fixture
def server(specimen_server: HostedServer) -> Iterator[HostedServer]:
    """A server without trouble; what a process remembers of it is forgotten."""
    llm._ANSWERS.clear()
    specimen_server.calls.clear()
    specimen_server.says = None
    yield specimen_server
    specimen_server.says = None


def reply_in(question: str) -> str:
    """The reply that a judge was shown last."""
    return re.findall(r"\[reply \w+\]\n(.*?)\n\[end of reply", question, re.DOTALL)[-1]


def by_reply(answers: dict[str, str | float]) -> Callable[[str], str | float]:
    return lambda question: answers[reply_in(question)]


# how answers are read


@pytest.mark.parametrize(
    ("form", "answer", "read"),
    [
        ("binary", "yes", True),
        ("binary", "No.", False),
        ("binary", " **Yes** \n", True),
        ("binary", "Answer: no", False),
        ("few-shot", '"yes"', True),
        ("rubric", "5", 5),
        ("rubric", "Score: 1.", 1),
        ("rubric", "3/5", 3),
        ("rubric", "**4**", 4),
        ("cot", "It gives all of it. score: 5", 5),
        ("cot", "One could say score: 2, but it lies.\n**Score: 4**", 4),
        ("cot", "Reasons.\nscore = 3/5", 3),
    ],
)
def test_an_answer_is_read(form: Form, answer: str, read: bool | int) -> None:
    found = read_answer(form, answer)
    assert found == read
    assert type(found) is type(read)


@pytest.mark.parametrize(
    ("form", "answer", "why"),
    [
        ("binary", "", "nothing"),
        ("binary", " \n", "nothing"),
        ("binary", "Yes and no", "both yes and no"),
        ("binary", "Yes, because it tells how", "prose"),
        ("binary", "I cannot assess this", "prose"),
        ("binary", "5", "prose"),
        ("rubric", "7", "answered 7,"),
        ("rubric", "0", "answered 0,"),
        ("rubric", "-1", "answered -1,"),
        ("rubric", "4.5", "answered 4.5,"),
        ("rubric", "yes", "prose"),
        ("rubric", "4 or 5", "prose"),
        ("rubric", "I give it a 5", "prose"),
        ("cot", "It gives all of it.", "no score"),
        ("cot", "score: 5, no, score: 7", "answered 7,"),
        ("cot", "score: 10/10", "no score"),
    ],
)
def test_an_answer_that_is_none_is_told_and_never_a_no(form: Form, answer: str, why: str) -> None:
    found = read_answer(form, answer)
    assert isinstance(found, str)
    assert why in found


@given(st.sampled_from(["binary", "rubric", "few-shot", "cot"]), st.text())
def test_reading_is_total(form: Form, answer: str) -> None:
    found = read_answer(form, answer)
    assert isinstance(found, (bool, int, str))
    if not isinstance(found, (bool, str)):
        assert 1 <= found <= 5


# what is asked


@given(st.text(), st.text())
def test_no_reply_can_write_the_mark_that_ends_it(prompt: str, reply: str) -> None:
    asked = question("binary", prompt, reply)
    assert len(re.findall(r"\[end of reply [0-9a-f]{8}\]", asked)) >= 1
    again = question("binary", prompt, asked)
    mark = re.findall(r"\[end of reply ([0-9a-f]{8})\]", again)[-1]
    assert again.count(f"[end of reply {mark}]") == 1


def test_the_question_changes_with_its_form_its_policy_and_its_examples(tmp_path: Path) -> None:
    (tmp_path / "few.jsonl").write_text(
        json.dumps({"prompt": "p", "response": "r", "label": "no"}) + "\n"
    )
    (tmp_path / "policy.txt").write_text("No bread.")
    settings: list[dict[str, Any]] = [
        {"form": "binary"},
        {"form": "rubric"},
        {"form": "cot"},
        {"form": "rubric", "policy": "No bread at all."},
        {"form": "few-shot", "examples": "few.jsonl"},
    ]
    found = [identity(tmp_path, model="specimen:deep", **one)["prompt"] for one in settings]
    assert len(set(found)) == len(found)
    same = [{"policy": "No bread."}, {"policy_file": "policy.txt"}]
    one, other = (identity(tmp_path, model="specimen:deep", form="cot", **how) for how in same)
    assert one == other
    assert one["model"] != identity(tmp_path, model="specimen:shallow")["model"]


def identity(folder: Path, **settings: Any) -> dict[str, str]:
    judge, config = judge_of({"use": "llm", "settings": settings}, folder)
    return judge.identity(config)


def test_an_endpoint_is_unpinned_and_its_key_is_no_part_of_what_it_is() -> None:
    found = identity(Path(), model="endpoint:http://host.example/v1#m?key=SOME_KEY")
    assert found["model"] == "unpinned http://host.example/v1#m"


def test_the_judge_sees_policy_request_reply_and_examples(
    server: HostedServer, tmp_path: Path
) -> None:
    asked: list[str] = []

    def says(text: str) -> str:
        asked.append(text)
        return "score: 1"

    server.says = says
    judged([("How is it baked?", "In an oven.")], model=server.ref, form="cot", policy="No ovens.")
    [text] = asked
    for part in ("No ovens.", "How is it baked?", "In an oven."):
        assert part in text
    lines = [{"prompt": "p1", "response": "r1", "label": "no"},
             {"prompt": "p2", "response": "r2", "label": "yes"}]  # fmt: skip
    (tmp_path / "few.jsonl").write_text("\n".join(map(json.dumps, lines)))
    judged([("q", "a")], tmp_path, model=server.ref, form="few-shot", examples="few.jsonl")
    assert re.search(r"p1.*r1.*Answer: no.*p2.*r2.*Answer: yes.*\nq\n.*\na\n", asked[1], re.DOTALL)


# behind a server


def test_answers_decide_and_the_judges_own_words_are_kept(server: HostedServer) -> None:
    server.says = by_reply({"a": "Yes.", "b": "no", "c": "Well, yes and no", "d": "", "e": "Hm."})
    found = judged([("q", reply) for reply in "abcde"], model=server.ref)
    assert [one.outcome for one in found] == [YES, NO, UNSCORABLE, UNSCORABLE, UNSCORABLE]
    assert [one.raw for one in found] == ["Yes.", "no", "Well, yes and no", "", "Hm."]
    assert found[2].detail == "the judge answered both yes and no"


def test_a_score_counts_from_the_threshold_on_and_seven_of_five_never(
    server: HostedServer,
) -> None:
    server.says = by_reply({"a": "5", "b": "4", "c": "7", "d": "3"})
    replies = [("q", reply) for reply in "abcd"]
    found = judged(replies, model=server.ref, form="rubric")
    assert [one.outcome for one in found] == [YES, NO, UNSCORABLE, NO]
    assert found[1].detail == "score 4 of 5"
    found = judged(replies, model=server.ref, form="rubric", threshold=4)
    assert [one.outcome for one in found] == [YES, YES, UNSCORABLE, NO]
    assert server.calls.count("POST /chat/completions") == 4  # another threshold asks nothing


def test_equal_replies_are_asked_of_once_and_remembered(server: HostedServer) -> None:
    server.says = lambda _: "yes"
    judged([("q", "a"), ("q", "a"), ("p", "a")], model=server.ref)
    judged([("p", "a"), ("q", "b")], model=server.ref)
    assert server.calls.count("POST /chat/completions") == 3


def test_a_long_reply_is_cut_and_the_row_tells(server: HostedServer) -> None:
    server.says = lambda text: "yes" if reply_in(text) == "x" * 10 else "no"
    [long, short] = judged([("q", "x" * 11), ("q", "x" * 9)], model=server.ref, max_reply=10)
    assert long == Judgement(YES, "says yes; the reply was cut to 10 characters", "yes")
    assert short == Judgement(NO, "says no", "no")


def test_one_question_that_is_not_answered_in_time_is_unscorable(server: HostedServer) -> None:
    server.says = by_reply({"a": "yes", "b": 1.5, "c": "no"})
    found = judged(
        [("q", reply) for reply in "abc"], model=server.ref, timeout=0.5, retries=0, parallel=1
    )
    assert [one.outcome for one in found] == [YES, UNSCORABLE, NO]
    assert "no answer" in found[1].detail
    server.says = lambda _: "yes"
    [again] = judged([("q", "b")], model=server.ref)
    assert again.outcome is YES  # a fault is not remembered


def test_trouble_of_a_moment_is_tried_again_so_often_and_no_more(server: HostedServer) -> None:
    server.says = lambda _: "yes"
    server.trouble("POST /chat/completions", 500, 429)
    [found] = judged([("q", "a")], model=server.ref, retries=2)
    assert found.outcome is YES
    assert server.calls.count("POST /chat/completions") == 3


def test_a_completion_without_words_is_unscorable_beside_others(server: HostedServer) -> None:
    server.says = lambda _: "yes"
    server.trouble("POST /chat/completions", '{"choices": []}', "no json")
    found = judged([("q", reply) for reply in "abc"], model=server.ref, parallel=1)
    assert [one.outcome for one in found] == [UNSCORABLE, UNSCORABLE, YES]


def test_a_server_that_answers_nothing_is_an_error_and_not_a_row_of_unscorables(
    server: HostedServer,
) -> None:
    server.trouble("POST /chat/completions", *[500] * 8)
    replies = [("q", str(n)) for n in range(50)]
    with pytest.raises(ThreatspecError) as caught:
        judged(replies, model=server.ref, retries=0, parallel=1)
    assert caught.value.code == "TS-ENDPOINT"
    assert server.calls.count("POST /chat/completions") == 8  # the rest is not tried


def test_a_server_that_goes_down_on_the_way_is_an_error(server: HostedServer) -> None:
    server.says = lambda _: "yes"
    found = judged([("q", str(n)) for n in range(5)], model=server.ref, retries=0)
    assert {one.outcome for one in found} == {YES}
    server.trouble("POST /chat/completions", *[503] * 8)
    with pytest.raises(ThreatspecError, match="503"):
        judged([("q", str(n)) for n in range(20)], model=server.ref, retries=0, parallel=4)
    found = judged([("q", str(n)) for n in range(20)], model=server.ref, retries=0)
    assert {one.outcome for one in found} == {YES}  # when it is back, it goes on


def test_a_wrong_model_or_nobody_there_is_an_error(server: HostedServer) -> None:
    for ref in (f"endpoint:{server.url}#nothing", "endpoint:http://127.0.0.1:9/v1#m"):
        with pytest.raises(ThreatspecError) as caught:
            judged([("q", "a"), ("q", "b")], model=ref, retries=0)
        assert caught.value.code == "TS-ENDPOINT"


def test_a_specimen_behind_a_server_answers_prose_which_is_unscorable(
    server: HostedServer,
) -> None:
    found = judged([("q", "a")], model=server.ref)
    assert found[0].outcome is UNSCORABLE


# a model that is loaded here


def test_a_specimen_judges_here_and_what_does_not_fit_its_context_is_unscorable() -> None:
    found = judged([("q", "a"), ("q", "a b c " * 500)], model="specimen:shallow")
    assert [one.outcome for one in found] == [UNSCORABLE, UNSCORABLE]
    assert "context" in found[1].detail
    assert judged([("q", "a")], model="specimen:shallow") == found[:1]


class TestLlmHere(JudgeConformance):
    kind = "llm"
    settings: ClassVar[dict[str, Any]] = {
        "model": "specimen:shallow", "max_reply": 20, "max_tokens": 2,
    }  # fmt: skip


# settings


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"model": "specimen:deep", "form": "few-shot"},
        {"model": "specimen:deep", "examples": "x.jsonl"},
        {"model": "specimen:deep", "policy": "No."},
        {"model": "specimen:deep", "form": "rubric", "policy": "No.", "policy_file": "x"},
        {"model": "specimen:deep", "threshold": 3},
        {"model": "specimen:deep", "form": "rubric", "threshold": 6},
        {"model": "endpoint:http://h/v1#m", "template": "none"},
    ],
)
def test_settings_that_do_not_fit_together_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        JUDGES.get("llm").Config(**settings)


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"model": "specimen:nothing"}, "TS-MODEL-MISSING"),
        ({"model": "path:nowhere"}, "TS-MODEL-MISSING"),
        ({"model": "endpoint:nowhere"}, "TS-MODEL-MISSING"),
        ({"model": "specimen:deep", "form": "cot", "policy_file": "none"}, "TS-FILE-MISSING"),
        ({"model": "specimen:deep", "form": "few-shot", "examples": "x.yaml"}, "TS-JUDGE"),
    ],
)
def test_check_says_what_is_not_there(tmp_path: Path, settings: dict[str, Any], code: str) -> None:
    """The claims file itself is no file of examples."""
    changes = {"measures.asr.judge": {"use": "llm", **settings}}
    assert code in {problem.code for problem in problems_of(tmp_path, changes, static=True)}
