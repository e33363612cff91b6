"""`threatspec benchmarks add` and `audit`, and what `list` and `explain` say of benchmarks."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.specs import write_benchmark
from threatspec.cli import cli
from threatspec.errors import ThreatspecError
from threatspec.measures import Item, benchmark
from threatspec.measures._near import normal_form
from threatspec.measures.benchmarks import audited
from threatspec.measures.benchmarks._audit import Audit


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "claims").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def verb(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["benchmarks", *arguments])


def added(*arguments: str) -> dict[str, Any]:
    done = verb("add", *arguments, "--json")
    assert done.exit_code == 0, done.exception
    data: dict[str, Any] = json.loads(done.output)
    return data


def refusal(*arguments: str) -> ThreatspecError:
    done = verb(*arguments)
    assert isinstance(done.exception, ThreatspecError), done.output
    return done.exception


def table(path: Path, head: str, *rows: str) -> str:
    path.write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    return str(path)


def test_columns_are_found_by_name_and_the_rest_is_said_not_to_be_read(here: Path) -> None:
    file = table(
        here / "claims" / "x.csv",
        "BehaviorID,Behavior,SemanticCategory,score",
        "a1,what is one ?,odd,0.1",
        "a2,what is two ?,even,0.2",
    )
    found = added(file, "--licence", "MIT")
    columns = {"id": "BehaviorID", "prompt": "Behavior", "category": "SemanticCategory"}
    assert found["written"]["columns"] == columns
    assert found["unread"] == ["score"]
    assert found["splits"] == {"test": 2}
    items = benchmark("file:claims/x.csv", here).items()
    assert [(i.id, i.prompt, i.category) for i in items] == [
        ("a1", "what is one ?", "odd"),
        ("a2", "what is two ?", "even"),
    ]


@pytest.mark.parametrize(
    ("head", "rows", "how", "right"),
    [
        ("question,A,B,C,answer", ("q1 ?,x,y,z,B", "q2 ?,x,y,z,C"), "letter", [1, 2]),
        ("question,A,B,C,answer", ("q1 ?,x,y,z,0", "q2 ?,x,y,z,2"), "index", [0, 2]),
        ("question,A,B,C,answer", ("q1 ?,x,y,z,1", "q2 ?,x,y,z,3"), "number", [0, 2]),
        ("question,A,B,C,right", ("q1 ?,ox,ym,zu,zu", "q2 ?,ox,ym,zu,ox"), "text", [2, 0]),
        (
            "question,choices,answer",
            ('q1 ?,"[""x"", ""y""]",1', 'q2 ?,"[""x"", ""y""]",0'),
            "index",
            [1, 0],
        ),
    ],
)
def test_multiple_choice_is_understood(
    here: Path, head: str, rows: tuple[str, ...], how: str, right: list[int]
) -> None:
    listed = '"[""x"", ""y""]"'
    file = table(here / "mc.csv", head, *(row.replace("LIST", listed) for row in rows))
    assert added(file)["written"]["right"] == how
    assert [item.right for item in benchmark("file:mc.csv", here).items()] == right


def test_what_is_told_comes_before_what_is_found(here: Path) -> None:
    file = table(
        here / "x.csv",
        "id,prompt,query,part,mood,verdict,reply",
        "1,no,one ?,train,calm,1,r",
        "2,no,two ?,held,calm,0,r",
        "3,no,three ?,held,wild,0,r",
    )
    arguments = ("--column", "prompt=query", "--column", "split=part", "--slice", "mood=mood")
    arguments += ("--split-name", "train=attack_train", "--split-name", "held=test")
    arguments += ("--column", "label=verdict", "--label", "1=yes", "--label", "0=no")
    arguments += ("--where", "mood=calm", "--name", "mine", "--licence", "MIT")
    found = added(file, *arguments)
    assert found["splits"] == {"attack_train": 1, "test": 1}
    first, second = benchmark("file:x.csv", here).items()
    assert (first.prompt, first.label, first.response) == ("one ?", "yes", "r")
    assert (second.split, second.slices, second.label) == ("test", {"mood": "calm"}, "no")


def test_splits_can_be_drawn(here: Path) -> None:
    file = table(here / "x.csv", "prompt", *(f"what is {n} ?" for n in range(200)))
    found = added(file, "--shares", "attack_dev=0.25,test=0.75")
    assert set(found["splits"]) == {"attack_dev", "test"}
    assert sum(found["splits"].values()) == 200


def test_rows_in_our_own_format_need_no_columns(here: Path) -> None:
    rows = [{"id": "a", "prompt": "one ?", "split": "test"}]
    write_benchmark(here, [json.dumps(row) for row in rows])
    (here / "items.card.yaml").unlink()
    assert "columns" not in added("items.jsonl")["written"]
    assert benchmark("file:items.jsonl", here).items()[0].cluster == "a"


def test_a_card_is_not_written_over(here: Path) -> None:
    file = table(here / "x.csv", "prompt", "one ?")
    added(file)
    card = (here / "x.card.yaml").read_bytes()
    error = refusal("add", file, "--licence", "MIT")
    assert (error.code, error.exit_code) == ("TS-USAGE", 4)
    assert (here / "x.card.yaml").read_bytes() == card
    added(file, "--licence", "MIT", "--force")
    assert yaml.safe_load((here / "x.card.yaml").read_text())["licence"] == "MIT"


@pytest.mark.parametrize(
    ("rows", "arguments", "words"),
    [
        (("a,b", "1,2"), (), "say --column prompt=NAME"),
        (("prompt", "one ?"), ("--column", "prompt=qery"), "there is no column 'qery'"),
        (("prompt,id", "one ?,a", "two ?,a"), ("--column", "id=id"), "ids in x.csv must be unique"),
        (
            ("prompt,id", ",a", "two ?,b"),
            (),
            "1 rows ask nothing (null or empty prompt); if that is",
        ),
        (("prompt", "one ?"), ("--null-rows", "1"), "0 rows ask nothing"),
        (("prompt",), (), "must hold rows, but has none"),
        (("prompt", "one ?"), ("--split", "train"), "split: Input should be"),
        (("prompt", "one ?"), ("--shares", "test=0.5"), "must sum to 1"),
        (("prompt", "one ?"), ("--as", "sory-bench-202503"), "did you mean"),
        (("id,prompt", "900,one ?"), ("--as", "sorry-bench-202503"), "must be 1 to 440"),
    ],
)
def test_what_cannot_be_understood_is_said_with_what_to_do(
    here: Path, rows: tuple[str, ...], arguments: tuple[str, ...], words: str
) -> None:
    error = refusal("add", table(here / "x.csv", *rows), *arguments)
    assert error.code == "TS-DATA"
    assert words in error.message
    assert not (here / "x.card.yaml").exists()


@pytest.mark.parametrize("option", ["--column", "--slice", "--label", "--where", "--split-name"])
def test_pairs_are_written_with_an_equals_sign(here: Path, option: str) -> None:
    error = refusal("add", table(here / "x.csv", "prompt", "one ?"), option, "prompt")
    assert error.code == "TS-USAGE"


def test_a_copy_of_a_described_set_is_used_by_its_name(here: Path) -> None:
    rows = [{"question_id": n, "turns": [f"tell me of {n}"]} for n in range(1, 441)]
    rows[8]["turns"] = [None]
    path = here / "claims" / "question.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    error = refusal("add", str(path), "--as", "sorry-bench-202503")
    assert "question.jsonl:9: 1 rows ask nothing" in error.message
    done = verb("add", str(path), "--as", "sorry-bench-202503", "--null-rows", "1")
    assert "described with 440 prompts, not 439" in done.output
    assert "use it as `benchmark: sorry-bench-202503`" in done.output
    assert "tell me" not in done.output
    found = benchmark("sorry-bench-202503", here)
    assert len(found.items()) == 439
    shown = CliRunner().invoke(cli, ["explain", "sorry-bench-202503"]).output
    assert "439 test" in shown
    listed = CliRunner().invoke(cli, ["list", "benchmarks"]).output
    assert "sorry-bench-202503      (your copy)" in listed
    assert "sorry-bench-202406      (not here, gated)" in listed


def test_explain_shows_the_categories_of_what_is_not_here() -> None:
    shown = CliRunner().invoke(cli, ["explain", "sorry-bench-202406"]).output
    assert "(benchmark, not here)" in shown
    assert "gated: yes" in shown
    assert "12  category=impersonation" in shown
    assert "45  category=machinery-advice" in shown


@settings(deadline=None, max_examples=30)
@given(st.lists(st.text(min_size=1).filter(lambda t: t.strip() and "\x00" not in t), min_size=1))
def test_any_text_that_csv_holds_comes_back(prompts: list[str]) -> None:
    """Through `add` and the loader, to the letter; surrogates cannot be written at all."""
    prompts = [p.encode("utf-8", "ignore").decode() for p in prompts]
    prompts = [p for p in prompts if p.strip()] or ["one ?"]
    text = io.StringIO(newline="")
    csv.writer(text).writerows([["prompt"], *([prompt] for prompt in prompts)])
    Path("any.csv").write_bytes(text.getvalue().encode("utf-8"))
    assert added("any.csv", "--force")["written"]["prompts"] == len(prompts)
    assert [item.prompt for item in benchmark("file:any.csv", Path()).items()] == prompts


# audit


def items(*prompts: str, **fields: Any) -> list[dict[str, Any]]:
    return [
        {"id": str(n), "prompt": prompt, "split": "test", **fields}
        for n, prompt in enumerate(prompts)
    ]


def audit(here: Path, rows: list[dict[str, Any]], *others: list[dict[str, Any]]) -> Audit:
    write_benchmark(here, [json.dumps(row) for row in rows], "own")
    named = []
    for number, other in enumerate(others):
        write_benchmark(here, [json.dumps(row) for row in other], f"other{number}")
        named.append((f"other{number}", benchmark(f"file:other{number}.jsonl", here)))
    return audited(benchmark("file:own.jsonl", here), named)


def test_balance_is_counted(here: Path) -> None:
    rows = items(*(f"p{n}" for n in range(8)))
    for row, category in zip(rows, "aaaaaabb", strict=True):
        row["category"] = category
    [balance] = audit(here, rows).balance
    assert balance.counts == {"a": 6, "b": 2}
    assert balance.ratio == 3
    assert balance.evenness == pytest.approx(0.8112781)
    even = audit(here, [{**row, "category": row["id"]} for row in rows]).balance[0]
    assert even.evenness == pytest.approx(1)
    assert audit(here, [{**row, "category": "a"} for row in rows]).balance[0].evenness == 1


def test_repetition_is_counted_and_named_by_ids(here: Path) -> None:
    fill = [f"something about {word} alone" for word in ("moss", "tin", "rye", "chalk")]
    same = "describe the quiet harbour lantern festival at midnight"
    rows = items(same, same.upper() + " !", same + " please", *fill)
    rows[1]["split"] = "attack_train"
    found = audit(here, rows).repetition
    assert (found.equal, found.near, found.groups, found.largest) == (1, 1, 1, 3)
    assert (found.across_splits, found.across_clusters) == (1, 2)
    assert [(p.first, p.second, p.equal) for p in found.pairs] == [
        ("0", "1", True),
        ("0", "2", False),
    ]
    clean = audit(here, items(*fill)).repetition
    assert (clean.equal, clean.near, clean.groups, clean.pairs) == (0, 0, 0, ())


@settings(deadline=None, max_examples=40)
@given(st.lists(st.sampled_from(["a b", "A  b.", "c", "C", "d e f", "g"]), min_size=1, max_size=9))
def test_equal_prompts_are_those_of_one_spelling(prompts: list[str]) -> None:
    found = audit(Path(), items(*prompts)).repetition
    assert found.equal == len(prompts) - len({normal_form(text) for text in prompts})


def test_overlap_missing_fields_and_lengths(here: Path) -> None:
    rows = items("one two ?", "three ?", "four five six ?", answer="yes it is")
    rows[2]["answer"] = ""
    found = audit(here, rows, items("ONE two", "nothing else"), items("other words"))
    assert [(o.right, o.equal, o.near) for o in found.overlaps] == [
        ("other0", 1, 1),
        ("other1", 0, 0),
    ]
    assert found.missing == {
        "category": 3, "answer": 1, "references": 3, "refusal": 3,
        "choices": 3, "response": 3, "label": 3,
    }  # fmt: skip
    prompt, answer = found.lengths
    assert (prompt.field, prompt.texts, prompt.least, prompt.median, prompt.most) == (
        "prompt",
        3,
        2,
        3,
        4,
    )
    assert (answer.field, answer.texts, answer.least, answer.most) == ("answer", 2, 3, 3)


def test_no_prompt_is_printed_by_an_audit(here: Path) -> None:
    write_benchmark(here, [json.dumps(row) for row in items("secretword one", "secretword one !")])
    for arguments in (["items.jsonl"], ["file:items.jsonl", "--json"]):
        done = verb("audit", *arguments, "--against", "specimen/benign")
        assert done.exit_code == 0, done.exception
        assert "secretword" not in done.output
    assert json.loads(done.output)["repetition"]["equal"] == 1
    assert "1 prompts equal an earlier one" in verb("audit", "items.jsonl").output


def test_absent_categories_of_a_description_are_named(here: Path) -> None:
    rows = [{"question_id": n, "turns": [f"tell me of {n}"]} for n in range(11, 441)]
    path = here / "claims" / "question.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    added(str(path), "--as", "sorry-bench-202503")
    shown = verb("audit", "sorry-bench-202503").output
    assert "described categories without a prompt: personal-insults" in shown


def test_an_audit_of_nothing_known_says_so() -> None:
    assert refusal("audit", "specimen/bening").code == "TS-UNKNOWN-BENCHMARK"
    assert refusal("audit", "sorry-bench-202503").code == "TS-GATED"


def test_items_of_an_audit_are_those_of_all_splits() -> None:
    found = audited(benchmark("specimen/restricted", Path()))
    assert found.prompts == sum(found.splits.values()) == 576
    assert found.repetition.equal == 0
    assert isinstance(benchmark("specimen/restricted", Path()).items()[0], Item)
