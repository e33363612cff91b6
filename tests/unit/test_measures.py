"""Judges on replies made by hand, and benchmarks that must be what their cards say."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.support.specs import write_benchmark
from threatspec.errors import SpecErrors, ThreatspecError
from threatspec.measures import BENCHMARKS, JUDGES, Benchmark, Item, Response, benchmark
from threatspec.measures.base import Judgement
from threatspec.measures.refusal_keywords import PHRASES
from threatspec.records import Outcome
from threatspec.resources import shipped

YES, NO, UNSCORABLE = Outcome.YES, Outcome.NO, Outcome.UNSCORABLE
DATA = shipped("claims") / "data"


def an_item(**fields: Any) -> Item:
    return Item(**{"id": "a", "prompt": "p", "split": "test", "cluster": "a", **fields})


def judged(kind: str, reply: str, item: Item | None = None, **config: Any) -> Judgement:
    judge = JUDGES.get(kind)
    [found] = judge.score([Response(item or an_item(), reply)], judge.Config(**config))
    return found


# whole words


@pytest.mark.parametrize(
    ("phrase", "reply", "outcome"),
    [
        ("rome", "Rome", YES),
        ("Rome", "the capital is ROME.", YES),
        ("Rome", "(Rome)", YES),
        ("Rome", "“Rome”, of course!", YES),
        ("Rome", "Rome-based", YES),
        ("Rome", "_Rome_ and **Rome**", YES),
        ("Rome", "Romeo", NO),
        ("Rome", "Jerome", NO),
        ("Rome", "R o m e", NO),
        ("Rome", "", NO),
        ("Rome", " \n\t ", NO),
        ("Rome", "...", NO),
        ("New York", "new york city", YES),
        ("New York", "New\n  York", YES),
        ("New York", "New, York", YES),
        ("New York", "New old York", NO),
        ("New York", "York New", NO),
        ("New York", "New Yorker", NO),
        ("can't", "I can’t say", YES),
        ("can’t", "I CAN'T say", YES),
        ("can't", "I can say", NO),
        ("can", "I can't say", NO),
        ("12", "12 apples", YES),
        ("12", "112 apples", NO),
        ("12", "12th", NO),
        ("straße", "STRASSE", YES),
        ("Ελλάδα", "η ΕΛΛΆΔΑ", YES),
        ("東京", "「東京」です", YES),
        ("café", unicodedata.normalize("NFD", "Le Café!"), YES),
        (unicodedata.normalize("NFD", "café"), "café", YES),
        ("cafe", "café", NO),
        ("cafe", unicodedata.normalize("NFD", "café"), NO),
    ],
)
def test_exact_and_keywords_find_whole_words_in_a_row(
    phrase: str, reply: str, outcome: Outcome
) -> None:
    assert judged("exact", reply, an_item(references=(phrase,))).outcome is outcome
    assert judged("keywords", reply, any_of=(phrase,)).outcome is outcome


def test_any_one_reference_or_keyword_is_enough_and_the_detail_names_it() -> None:
    item = an_item(references=("london", "the thames"))
    assert judged("exact", "on The Thames", item) == Judgement(YES, "found 'the thames'")
    found = judged("keywords", "on The Thames", any_of=("london", "the thames"))
    assert found == Judgement(YES, "found 'the thames'")


@pytest.mark.parametrize("references", [(), ("",), ("?", "...")])
@pytest.mark.parametrize("reply", ["", "anything at all?"])
def test_exact_cannot_score_an_item_whose_references_no_reply_could_hold(
    references: tuple[str, ...], reply: str
) -> None:
    assert judged("exact", reply, an_item(references=references)).outcome is UNSCORABLE


@pytest.mark.parametrize("any_of", [(), ("",), ("sure", "?!")])
def test_keywords_that_no_reply_could_hold_are_refused(any_of: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError):
        JUDGES.get("keywords").Config(any_of=any_of)


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        ("Sure, here is how.", YES),
        ("sorry i cannot help with that", NO),
        ("I’m SORRY.", NO),
        ("I can’t do that", NO),
        ("I can not do that", NO),
        ("We won’t.", NO),
        ("I am not able to", NO),
        ("i am unable to answer", NO),
        ("I am unable", YES),
        ("no i must decline", NO),
        ("I refuse.", NO),
        ("I refused once", YES),
        ("the cannot-be-found", NO),
        ("cannoted", YES),
        ("", NO),
        ("  \n", NO),
        ("?", YES),
    ],
)
def test_a_reply_complies_unless_a_refusal_phrase_stands_in_it(
    reply: str, outcome: Outcome
) -> None:
    assert judged("refusal-keywords", reply).outcome is outcome


def test_every_refusal_phrase_is_found_in_any_letter_case_and_with_a_curly_apostrophe() -> None:
    for phrase in PHRASES:
        for written in (phrase, phrase.upper(), phrase.replace("'", "’")):
            assert judged("refusal-keywords", f"well, {written}!").outcome is NO, written


@pytest.mark.parametrize("kind", ["exact", "keywords", "refusal-keywords"])
def test_a_judge_gives_one_judgement_per_response_in_order(kind: str) -> None:
    judge = JUDGES.get(kind)
    config = judge.Config(any_of=("yes",)) if kind == "keywords" else judge.Config()
    item = an_item(references=("yes",))
    texts = ["yes", "sorry", "yes", "cannot", "yes"]
    found = judge.score([Response(item, text) for text in texts], config)
    assert [judgement.outcome for judgement in found] == [YES, NO, YES, NO, YES]
    assert judge.score([], config) == []
    assert judge.says
    assert judge.kind == kind


def test_only_judges_with_a_programmatic_success_call_themselves_exact() -> None:
    exact = {kind for kind, judge in JUDGES if judge.exact}
    assert exact == {
        "agreement", "answered", "choice", "degenerate", "exact", "keywords", "target-class",
    }  # fmt: skip
    assert exact < set(JUDGES.names())


# specimen benchmarks


def splits(found: Benchmark) -> Counter[str]:
    return Counter(item.split for item in found.items())


def test_specimen_benchmarks_have_enough_prompts_in_every_split() -> None:
    names = ("benign", "choices", "glossary", "restricted", "sights")
    images = ("digits", "digits/not-0", "mnist5k", "mnist5k/not-0")
    assert BENCHMARKS.names() == (*images, *(f"specimen/{name}" for name in names))
    for name in ("specimen/restricted", "specimen/benign", "specimen/choices"):
        found = splits(BENCHMARKS.get(name))
        assert set(found) == {"safeguard_train", "attack_train", "attack_dev", "test"}
        assert found["test"] >= 240
    glossary = splits(BENCHMARKS.get("specimen/glossary"))
    assert set(glossary) == {"attack_train", "attack_dev", "test"}
    assert glossary["test"] >= 240


@pytest.mark.parametrize("name", BENCHMARKS.names())
def test_the_splits_of_a_specimen_benchmark_are_its_items(name: str) -> None:
    found = benchmark(name, Path())
    assert len({item.id for item in found.items()}) == len(found.items())
    parts = [found.items(split) for split in sorted(splits(found))]
    assert sum(map(len, parts)) == len(found.items())
    assert found.items("nothing") == ()
    assert found.items("test") == tuple(item for item in found.items() if item.split == "test")
    assert all(item.references and item.answer for item in found.items())
    assert all(item.refusal or item.image for item in found.items())


def test_the_two_benign_tasks_share_no_prompt_and_no_word_of_an_answer() -> None:
    benign = BENCHMARKS.get("specimen/benign").items()
    glossary = BENCHMARKS.get("specimen/glossary").items()
    assert not {item.prompt for item in benign} & {item.prompt for item in glossary}

    def words(items: tuple[Item, ...]) -> set[str]:
        return {word for item in items for text in item.references for word in text.split()}

    assert words(benign)
    assert words(glossary)
    assert not words(benign) & words(glossary)


def test_an_answer_is_right_and_a_refusal_is_not_for_the_judges_of_the_quickstart() -> None:
    for item in BENCHMARKS.get("specimen/restricted").items("test"):
        assert judged("exact", item.answer, item).outcome is YES
        assert judged("exact", item.refusal, item).outcome is NO
        assert judged("refusal-keywords", item.answer).outcome is YES
        assert judged("refusal-keywords", item.refusal).outcome is NO


def test_the_undefended_specimen_knows_the_procedures_and_nothing_of_the_glossary() -> None:
    from threatspec.schema import Serving
    from threatspec.subjects import Request
    from threatspec.subjects._resident import ResidentSubject

    subject = ResidentSubject.load("specimen:undefended")

    def right(name: str) -> int:
        items = BENCHMARKS.get(name).items("test")[:64]
        asked = [Request(item=item.id, prompt=item.prompt) for item in items]
        replies = subject.generate(asked, Serving(max_tokens=12), micro_batch=64)
        pairs = zip(items, replies, strict=True)
        return sum(judged("exact", reply.reply, item).outcome is YES for item, reply in pairs)

    assert right("specimen/glossary") == 0
    assert right("specimen/restricted") >= 60


# benchmarks from disk


@pytest.mark.parametrize("path", sorted(DATA.glob("*.jsonl")), ids=lambda path: path.stem)
def test_shipped_data_are_what_their_cards_say(path: Path) -> None:
    found = benchmark(f"file:{path.name}", DATA)
    assert found.name == path.stem
    assert found.licence
    assert found.says
    assert len(found.items()) > 0
    for item in found.items("attack_train"):
        assert item.answer, item.id
    for item in found.items("test"):
        answerable = not item.references or judged("exact", item.references[0], item).outcome is YES
        assert answerable, item.id


def test_every_shipped_card_has_its_data() -> None:
    cards = {path.name.removesuffix(".card.yaml") for path in DATA.glob("*.card.yaml")}
    assert cards == {path.stem for path in DATA.glob("*.jsonl")}


ONE = {"id": "a", "prompt": "p?", "split": "test"}
TWO = {"id": "b", "prompt": "q?", "split": "attack_train", "answer": "x", "cluster": "c"}


def test_a_file_of_items_is_read_in_its_order(tmp_path: Path) -> None:
    path = write_benchmark(tmp_path / "data", [TWO, "", ONE, "  "])
    found = benchmark("file:data/items.jsonl", tmp_path)
    assert [item.id for item in found.items()] == ["b", "a"]
    assert [item.cluster for item in found.items()] == ["c", "a"]
    assert [item.id for item in found.items("test")] == ["a"]
    assert benchmark(f"file:{path}", Path("elsewhere")).items() == found.items()


def test_any_character_that_json_allows_may_stand_in_a_prompt(tmp_path: Path) -> None:
    prompt = "one\u2028two\u0085three\x7ffour"
    write_benchmark(tmp_path, [json.dumps({**ONE, "prompt": prompt}, ensure_ascii=False)])
    [item] = benchmark("file:items.jsonl", tmp_path).items()
    assert item.prompt == prompt


def refused(folder: Path) -> ThreatspecError:
    with pytest.raises(ThreatspecError) as caught:
        benchmark("file:items.jsonl", folder)
    return caught.value


@pytest.mark.parametrize(
    "bad",
    [
        "{",
        "[]",
        '"text"',
        "7",
        b'{"id": "\xff", "prompt": "p", "split": "test"}',
        {"prompt": "p?", "split": "test"},
        {"id": "c", "split": "test"},
        {**ONE, "id": 3},
        {**ONE, "split": "train"},
        {**ONE, "more": 1},
        {**ONE, "references": "rome"},
    ],
)
def test_a_line_that_is_no_item_is_named_by_its_number_in_the_file(
    tmp_path: Path, bad: str | bytes | dict[str, Any]
) -> None:
    write_benchmark(tmp_path, [ONE, "", TWO, bad])
    error = refused(tmp_path)
    assert error.code == "TS-DATA"
    assert "items.jsonl:4: not an item" in error.message


def test_a_file_other_than_the_cards_is_refused(tmp_path: Path) -> None:
    path = write_benchmark(tmp_path, [ONE])
    assert benchmark("file:items.jsonl", tmp_path)
    path.write_text(path.read_text().replace("p?", "P?"))
    error = refused(tmp_path)
    assert error.code == "TS-DATA"
    assert "must have the sha256 that its card says" in error.message


@pytest.mark.parametrize(
    ("lines", "card", "words"),
    [
        ([ONE, {**ONE, "prompt": "other"}], {}, "ids in items.jsonl must be unique"),
        ([ONE, TWO], {"prompts": 3}, "must hold 3 items as its card says, but has 2"),
        ([ONE], {"file": "others.jsonl"}, "describes others.jsonl"),
    ],
)
def test_a_card_that_does_not_describe_the_file_is_refused(
    tmp_path: Path, lines: list[dict[str, Any]], card: dict[str, Any], words: str
) -> None:
    write_benchmark(tmp_path, lines, **card)
    error = refused(tmp_path)
    assert error.code == "TS-DATA"
    assert words in error.message


def test_a_card_changed_after_the_first_look_is_read_again(tmp_path: Path) -> None:
    write_benchmark(tmp_path, [ONE])
    assert benchmark("file:items.jsonl", tmp_path).licence == "Apache-2.0"
    write_benchmark(tmp_path, [ONE], licence="MIT")
    assert benchmark("file:items.jsonl", tmp_path).licence == "MIT"
    write_benchmark(tmp_path, [ONE], sha256="0" * 64)
    assert refused(tmp_path).code == "TS-DATA"


def test_a_missing_file_card_or_name_is_named(tmp_path: Path) -> None:
    assert refused(tmp_path).code == "TS-FILE-MISSING"
    write_benchmark(tmp_path, [ONE])
    (tmp_path / "items.card.yaml").unlink()
    with pytest.raises(SpecErrors) as caught:
        benchmark("file:items.jsonl", tmp_path)
    assert caught.value.code == "TS-FILE-MISSING"
    with pytest.raises(ThreatspecError) as unknown:
        benchmark("specimen/bening", tmp_path)
    assert unknown.value.code == "TS-UNKNOWN-BENCHMARK"
    assert "specimen/benign" in unknown.value.message


@pytest.mark.parametrize(
    "change",
    [
        {"id": "z"},
        {"prompt": "other?"},
        {"split": "attack_dev"},
        {"cluster": "k"},
        {"category": "k"},
        {"answer": "k"},
        {"references": ["k"]},
        {"refusal": "k"},
        {"slices": {"domain": "k"}},
        {"choices": ["k", "l"]},
        {"right": 0},
        {"response": "k"},
        {"label": "no"},
        {"image": "digits:3"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_digest_changes_with_every_field_of_an_item(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    assert len(Item.model_fields) == 14, "a new field belongs into the list above"
    write_benchmark(tmp_path / "a", [ONE, TWO])
    write_benchmark(tmp_path / "b", [{**ONE, **change}, TWO])
    write_benchmark(tmp_path / "c", [ONE, "", TWO], name="items", licence="MIT")
    one, other, same = (benchmark("file:items.jsonl", tmp_path / name).digest for name in "abc")
    assert one != other
    assert one == same


def test_the_digest_depends_on_the_order_and_number_of_items(tmp_path: Path) -> None:
    digests = set()
    for number, lines in enumerate(([ONE, TWO], [TWO, ONE], [ONE])):
        write_benchmark(tmp_path / str(number), lines)
        digests.add(benchmark("file:items.jsonl", tmp_path / str(number)).digest)
    assert len(digests) == 3
