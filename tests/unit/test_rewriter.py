"""Rewriters: rows with their faults by line, a model behind a real server, what is a failure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.hosted_server import serving
from threatspec.attacks._rewriter import (
    BACK,
    ModelRewriter,
    RowsRewriter,
    Task,
    digest_of,
    pieces,
    rewriter_of,
)
from threatspec.errors import ThreatspecError
from threatspec.subjects._endpoint import EndpointSubject

SLANG = Task("slang", "Say it in slang.")
FRENCH = Task("translate-fr", "Translate the text into French.", "fault", cut=True)


def rows(folder: Path, *lines: Any) -> Path:
    path = folder / "rows.jsonl"
    text = (line if isinstance(line, str) else json.dumps(line) for line in lines)
    path.write_text("\n".join(text) + "\n", encoding="utf-8")
    return path


def row(item: str = "a", style: str = "slang", **more: Any) -> dict[str, Any]:
    return {"id": item, "style": style, **(more or {"prompt": f"{item} {style}"})}


# rows


def test_rows_are_found_by_item_and_style(tmp_path: Path) -> None:
    path = rows(tmp_path, row(), row("b"), row("a", "question"), "", row(prompt="x", style="morse"))
    found = RowsRewriter.read(path).rewrite(SLANG, [("b", "?"), ("a", "?"), ("c", "?")])
    assert [one.text for one in found] == ["b slang", "a slang", ""]
    assert [one.fault for one in found] == ["", "", "no row of slang for c"]


def test_a_row_may_have_turns(tmp_path: Path) -> None:
    path = rows(tmp_path, row("a", "multi-turn", turns=["one", "two", "three"]))
    [found] = RowsRewriter.read(path).rewrite(Task("multi-turn", ""), [("a", "?")])
    assert (found.turns, found.text) == (("one", "two"), "three")


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        ("{", "TS-DATA"),
        ("[1]", "TS-DATA"),
        ({"style": "slang", "prompt": "x"}, "TS-DATA"),
        (row(prompt=None), "TS-DATA"),
        (row(prompt="  "), "TS-DATA"),
        (row("a", "multi-turn", turns=None), "TS-DATA"),
        (row("a", "multi-turn", turns=["one", None]), "TS-DATA"),
        (row("first"), "TS-DATA"),
        (row("a", "slnag"), "TS-REWRITER"),
        ({"id": "a", "prompt": "x"}, "TS-REWRITER"),
    ],
)
def test_a_bad_row_is_told_with_file_and_line(tmp_path: Path, bad: Any, code: str) -> None:
    path = rows(tmp_path, row("first"), "", bad)
    with pytest.raises(ThreatspecError, match=r"rows\.jsonl:3: ") as caught:
        RowsRewriter.read(path)
    assert caught.value.code == code


def test_rows_that_are_not_there_or_have_changed(tmp_path: Path) -> None:
    with pytest.raises(ThreatspecError) as caught:
        rewriter_of("rows:rows.jsonl", tmp_path)
    assert caught.value.code == "TS-FILE-MISSING"
    rows(tmp_path, row())
    digest = digest_of("rows:rows.jsonl", tmp_path)
    assert rewriter_of("rows:rows.jsonl", tmp_path, digest)
    rows(tmp_path, row(prompt="changed"))
    assert digest_of("rows:rows.jsonl", tmp_path) != digest
    with pytest.raises(ThreatspecError) as caught:
        rewriter_of("rows:rows.jsonl", tmp_path, digest)
    assert caught.value.code == "TS-DATA"


def test_a_style_without_a_row_and_a_reference_that_is_none_are_told(tmp_path: Path) -> None:
    rows(tmp_path, row())
    for ref, style in (("rows:rows.jsonl", "question"), ("someone", ""), ("endpoint:x", "")):
        with pytest.raises(ThreatspecError) as caught:
            digest_of(ref, tmp_path, style)
        assert caught.value.code == "TS-REWRITER"


def test_a_translation_that_is_the_text_itself_is_a_failure(tmp_path: Path) -> None:
    path = rows(tmp_path, row("a", "translate-fr", prompt="one  two"), row(prompt="one two"))
    [found] = RowsRewriter.read(path).rewrite(FRENCH, [("a", "one two")])
    assert "the text itself" in found.fault
    [found] = RowsRewriter.read(path).rewrite(SLANG, [("a", "one two")])
    assert found.text == "one two"


# pieces of long texts


@given(st.text(max_size=300) | st.text("a .\n", max_size=300), st.integers(1, 40))
def test_pieces_are_the_text_and_none_is_longer(text: str, most: int) -> None:
    found = pieces(text, most)
    assert "".join(found) == text
    assert all(len(piece) <= most for piece in found)


def test_texts_are_cut_after_sentences_and_words() -> None:
    assert pieces("One two. Three four", 12) == ["One two. ", "Three four"]
    assert pieces("one two", 5) == ["one ", "two"]


# a model behind a server


def said(*texts: str) -> list[str]:
    return [json.dumps({"choices": [{"message": {"content": text}}]}) for text in texts]


CHAT = "POST /chat/completions"


def test_a_model_is_asked_once_for_each_text(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        model = ModelRewriter(EndpointSubject.load(server.ref))
        server.trouble(CHAT, *said("new words"))
        for _ in range(2):
            [found] = model.rewrite(SLANG, [("a", "old words")])
            assert (found.text, found.fault) == ("new words", "")
        assert server.calls == [CHAT]


def test_the_instruction_stands_before_the_text(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        model = ModelRewriter(EndpointSubject.load(server.ref))
        server.trouble(CHAT, *said("new words"))
        model.rewrite(SLANG, [("a", " old words ")])
        [prompt] = model.known
        assert prompt.startswith("Say it in slang.")
        assert prompt.endswith("\n\nold words")


def test_a_model_without_room_for_a_reply_says_so(tmp_path: Path) -> None:
    with serving(tmp_path) as server:  # a specimen, whose context is a few sentences
        model = ModelRewriter(EndpointSubject.load(server.ref))
        [found] = model.rewrite(SLANG, [("a", "old words")])
        assert "context" in found.fault


@pytest.mark.parametrize(
    ("answer", "fault"),
    [("", "gave nothing"), ("old words", "the text itself"), ("d'autres", "")],
)
def test_a_translation_service_that_fails_is_told(tmp_path: Path, answer: str, fault: str) -> None:
    with serving(tmp_path) as server:
        model = ModelRewriter(EndpointSubject.load(server.ref))
        server.trouble(CHAT, *said(answer))
        [found] = model.rewrite(FRENCH, [("a", "old words")])
        assert fault in found.fault
        assert bool(fault) == bool(found.fault)


def test_replies_in_ascii_may_be_english_already_and_others_may_not(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        model = ModelRewriter(EndpointSubject.load(server.ref))
        for reply, fine in (("in English", True), ("d'autres là", False)):
            server.trouble(CHAT, *said(reply))
            [found] = model.rewrite(BACK, [("", reply)])
            assert (found.text == reply) is fine
            assert (found.fault == "") is fine


def test_long_texts_are_translated_piece_by_piece(tmp_path: Path) -> None:
    text = "word " * 500 + "\n" + "---"
    with serving(tmp_path) as server:
        model = ModelRewriter(EndpointSubject.load(server.ref))
        server.trouble(CHAT, *said("premier", "second"))
        [found] = model.rewrite(FRENCH, [("a", text)])
        assert server.calls == [CHAT] * 2
        assert found.text.split() == ["premier", "second", "---"] or "second" in found.text


def test_a_text_that_is_refused_is_its_own_fault_and_a_missing_model_that_of_all(
    tmp_path: Path,
) -> None:
    with serving(tmp_path) as server:
        model = ModelRewriter(EndpointSubject.load(server.ref))
        server.trouble(CHAT, 400)
        [found] = model.rewrite(SLANG, [("a", "old words")])
        assert "400" in found.fault
        other = ModelRewriter(EndpointSubject.load(f"{server.ref}x"))
        with pytest.raises(ThreatspecError, match="no such model"):
            other.rewrite(SLANG, [("a", "old words")])


def test_a_model_of_this_machine_rewrites_too() -> None:
    model = rewriter_of("specimen:shallow", Path())
    [found] = model.rewrite(SLANG, [("a", "old words")])
    assert found.text or found.fault
    assert rewriter_of("specimen:shallow", Path()) is model
