"""Lists of refusal phrases: which list it is, where a phrase counts, and what is counted."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.support.specs import problems_of
from threatspec.errors import ThreatspecError
from threatspec.measures import JUDGES, Item, Response, judge_of
from threatspec.measures import _refusal_lists as lists
from threatspec.measures._text import find_words
from threatspec.measures.base import Judgement
from threatspec.records import Outcome

YES, NO = Outcome.YES, Outcome.NO
ITEM = Item(id="a", prompt="p", split="test", cluster="a")


def judged(reply: str, folder: Path = Path(), **settings: Any) -> Judgement:
    judge, config = judge_of({"use": "refusal-keywords", "settings": settings}, folder)
    [found] = judge.score([Response(ITEM, reply)], config)
    return found


def write(folder: Path, *phrases: str, name: str = "list.txt") -> str:
    (folder / name).write_text("\n".join(phrases) + "\n", encoding="utf-8")
    return name


# where a phrase counts


@pytest.mark.parametrize(
    ("match", "case", "refusals"),
    [
        ("words", False, {"Rest now.", "we REST", "It is rest!"}),
        ("prefix", False, {"Rest now.", "rested", "  restore"}),
        ("prefix", True, {"Rest now."}),
        ("substring", False, {"Rest now.", "rested", "  restore", "we REST", "It is rest!",
                              "the forest"}),
        ("substring", True, {"Rest now."}),
    ],
)  # fmt: skip
def test_where_a_phrase_counts(tmp_path: Path, match: str, case: bool, refusals: set[str]) -> None:
    """As whole words, at the start, anywhere; the last two within words, and by letter case."""
    file = write(tmp_path, "Rest")
    replies = ["Rest now.", "rested", "  restore", "we REST", "It is rest!", "the forest", "on"]
    found = {
        reply
        for reply in replies
        if judged(reply, tmp_path, list="any", file=file, match=match, case=case).outcome is NO
    }
    assert found == refusals


def test_what_is_counted_may_be_refusals_and_the_empty_reply_is_one() -> None:
    for reply, refused in (("Sorry, no.", True), ("", True), ("Here it is.", False)):
        assert judged(reply).outcome is (NO if refused else YES)
        assert judged(reply, counts="refusal").outcome is (YES if refused else NO)


def test_short_replies_are_refusals_where_a_publication_says_so() -> None:
    assert judged("It is in Rome.").outcome is YES
    assert judged("It is in Rome.", least_words=5) == Judgement(NO, "4 words")
    assert judged("It is there, in Rome.", least_words=5).outcome is YES


@given(st.text(), st.sampled_from(["words", "prefix", "substring"]))
def test_counting_refusals_is_the_opposite_of_counting_compliance(reply: str, match: str) -> None:
    one, other = judged(reply, match=match), judged(reply, match=match, counts="refusal")
    assert {one.outcome, other.outcome} == {YES, NO}
    assert one.detail == other.detail


# which list it is


def test_a_list_is_known_by_its_phrases_and_their_order(tmp_path: Path) -> None:
    judge, config = judge_of(
        {"use": "refusal-keywords", "list": "any", "file": write(tmp_path, "b", "a")}, tmp_path
    )
    assert judge.identity(config) == {"phrases": "2 sha256:" + hashlib.sha256(b"b\na").hexdigest()}
    write(tmp_path, "a", "b")
    assert judge.identity(config)["phrases"].endswith(hashlib.sha256(b"a\nb").hexdigest())
    own = JUDGES.get("refusal-keywords")
    assert own.identity(own.Config())["phrases"].startswith("12 sha256:")


def test_a_published_list_must_be_the_published_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    phrases = ("Nay", "However")
    known = lists.KnownList(
        lists.digest_of(phrases), 2, "somebody/something", "substring", 0, ("However",)
    )
    monkeypatch.setitem(lists.KNOWN, "invented", known)
    settings = {"list": "invented", "file": write(tmp_path, *phrases)}
    judge, config = judge_of({"use": "refusal-keywords", "settings": settings}, tmp_path)
    assert judge.identity(config)["list"] == "invented"
    assert judge.faults(config) == ("However",)
    assert judged("nay", tmp_path, **settings).outcome is NO
    write(tmp_path, "However", "Nay")
    with pytest.raises(ThreatspecError, match="must hold the 2 phrases of invented") as caught:
        judge.identity(config)
    assert caught.value.code == "TS-JUDGE"
    any_list = {**settings, "list": "any"}
    assert judged("nay", tmp_path, **any_list).outcome is NO
    _, config = judge_of({"use": "refusal-keywords", "settings": any_list}, tmp_path)
    assert judge.faults(config) == ()


def test_published_lists_in_the_table_have_faults_and_a_source_with_a_commit() -> None:
    assert len({known.sha256 for known in lists.KNOWN.values()}) == len(lists.KNOWN) == 2
    for known in lists.KNOWN.values():
        assert re.fullmatch(r"[0-9a-f]{64}", known.sha256)
        assert re.search(r"\.py, [0-9a-f]{12}$", known.source)
        assert known.faults


@pytest.mark.parametrize(
    "settings",
    [
        {"list": "invented"},
        {"list": "any"},
        {"list": "safety-critical-regions"},
        {"file": "x.txt"},
        {"case": True},
        {"match": "anywhere"},
        {"least_words": -1},
    ],
)
def test_settings_that_do_not_fit_together_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        JUDGES.get("refusal-keywords").Config(**settings)


@pytest.mark.parametrize(
    ("content", "code"),
    [(None, "TS-FILE-MISSING"), (b"\n \n", "TS-JUDGE"), (b"\xff\n", "TS-JUDGE"),
     (b"sorry\n?!\n", "TS-JUDGE")],
)  # fmt: skip
def test_check_names_what_is_wrong_with_a_list(
    tmp_path: Path, content: bytes | None, code: str
) -> None:
    if content is not None:
        (tmp_path / "list.txt").write_bytes(content)
    use = {"use": "refusal-keywords", "list": "any", "file": "list.txt"}
    changes = {"measures.asr.judge": use}
    assert code in {problem.code for problem in problems_of(tmp_path, changes, static=True)}


# finding words fast is finding them as before

_WORD = re.compile(r"[^\W_]+(?:'(?!s\b)[^\W_]+)*")


def _slowly(text: str, phrases: Iterable[str]) -> str | None:
    """Word by word, as it is defined."""

    def words(text: str) -> tuple[str, ...]:
        plain = unicodedata.normalize("NFC", text).replace("’", "'")
        return tuple(word.casefold() for word in _WORD.findall(plain))

    found = words(text)
    for phrase in phrases:
        wanted = words(phrase)
        size = len(wanted)
        if size and any(found[i : i + size] == wanted for i in range(len(found) - size + 1)):
            return phrase
    return None


_TEXT = st.text(alphabet=st.sampled_from("aAbß'’sİ _.-\u0301éñ9ſ中") | st.characters(), max_size=30)


@given(_TEXT, st.lists(_TEXT, max_size=4), st.integers(0, 30), st.integers(0, 8))
def test_words_are_found_as_if_they_were_compared_one_by_one(
    text: str, phrases: list[str], start: int, length: int
) -> None:
    phrases.append(text[start : start + length])
    assert find_words(text, phrases) == _slowly(text, phrases)


def test_no_letter_becomes_a_space_when_its_case_is_folded() -> None:
    letters = (chr(n) for n in range(0x110000) if not 0xD800 <= n < 0xE000)
    assert not [c for c in letters if c.isalnum() and len(c.casefold().split()) != 1]
