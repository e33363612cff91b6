"""Files of prompts as their cards say: formats, columns, splits, and everything that is refused."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import lzma
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from threatspec.errors import SpecErrors, ThreatspecError
from threatspec.measures import Item, benchmark
from threatspec.measures.benchmarks._splits import SPLITS, drawn_split

ROWS: list[dict[str, Any]] = [
    {"number": "q1", "query": "what is a stone ?", "topic": "rocks", "style": "plain"},
    {"number": "q2", "query": "what is a leaf ?", "topic": "plants", "style": "plain"},
    {"number": "q3", "query": "and a root ?", "topic": "plants", "style": "short"},
]
COLUMNS = {"id": "number", "prompt": "query", "category": "topic", "slices": {"style": "style"}}


def as_jsonl(rows: Sequence[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def as_csv(rows: Sequence[dict[str, Any]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(
        {k: json.dumps(v) if isinstance(v, list) else v for k, v in row.items()} for row in rows
    )
    return text.getvalue().encode()


def as_parquet(rows: Sequence[dict[str, Any]]) -> bytes:
    out = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), out)
    return out.getvalue()


FORMATS = {
    "a.jsonl": as_jsonl,
    "a.csv": as_csv,
    "a.parquet": as_parquet,
    "a.jsonl.gz": lambda rows: gzip.compress(as_jsonl(rows)),
    "a.csv.xz": lambda rows: lzma.compress(as_csv(rows)),
}


def write(folder: Path, data: bytes, name: str = "a.jsonl", **card: Any) -> str:
    (folder / name).write_bytes(data)
    about = {
        "schema": "threatspec/benchmark-card/v1",
        "name": "a",
        "says": "Questions of a test.",
        "licence": "MIT",
        "source": "made by a test",
        "file": name,
        "sha256": hashlib.sha256(data).hexdigest(),
        "prompts": len(ROWS),
        "columns": COLUMNS,
        "split": "test",
    }
    text = json.dumps({k: v for k, v in {**about, **card}.items() if v is not None})
    (folder / "a.card.yaml").write_text(text, encoding="utf-8")
    return f"file:{name}"


def read(folder: Path, rows: Sequence[dict[str, Any]], **card: Any) -> tuple[Item, ...]:
    return benchmark(write(folder, as_jsonl(rows), prompts=len(rows), **card), folder).items()


def refused(folder: Path, rows: Sequence[dict[str, Any]], **card: Any) -> str:
    name = write(folder, as_jsonl(rows), **{"prompts": len(rows), **card})
    with pytest.raises(ThreatspecError) as caught:
        benchmark(name, folder)
    assert caught.value.code == "TS-DATA"
    return caught.value.message


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_items(tmp_path: Path, name: str) -> None:
    found = benchmark(write(tmp_path, FORMATS[name](ROWS), name), tmp_path)
    assert [item.id for item in found.items()] == ["q1", "q2", "q3"]
    assert found.items()[2].model_dump(exclude_defaults=True) == {
        "id": "q3",
        "prompt": "and a root ?",
        "split": "test",
        "cluster": "q3",
        "category": "plants",
        "slices": {"style": "short"},
    }
    write(tmp_path, as_jsonl(ROWS))
    assert found.digest == benchmark("file:a.jsonl", tmp_path).digest


def test_lists_choices_and_labels_are_read_from_every_format(tmp_path: Path) -> None:
    rows = [
        {
            "q": "which ?",
            "c": ["red", "blue"],
            "r": "B",
            "l": "1",
            "refs": ["x", "y"],
            "t": ["go ?"],
        },
        {"q": "which ?", "c": ["one", "two"], "r": "A", "l": "0", "refs": ["z"], "t": ["stay ?"]},
    ]
    columns = {"turns": "t", "choices": ["c"], "right": "r", "label": "l", "references": "refs"}
    card = {"columns": columns, "right": "letter", "labels": {"1": "yes", "0": "no"}, "prompts": 2}
    for name, written in FORMATS.items():
        first, second = benchmark(write(tmp_path, written(rows), name, **card), tmp_path).items()
        assert (first.prompt, first.choices, first.right) == ("go ?", ("red", "blue"), 1)
        assert (first.label, second.label) == ("yes", "no")
        assert (first.references, second.references) == (("x", "y"), ("z",))


@pytest.mark.parametrize(
    ("how", "told", "right"),
    [("index", 2, 2), ("index", "0", 0), ("number", 3, 2), ("letter", "c", 2), ("text", "w", 3)],
)
def test_the_right_choice_is_told_in_four_ways(
    tmp_path: Path, how: str, told: Any, right: int
) -> None:
    columns = {"prompt": "q", "choices": ["a", "b", "c", "d"], "right": "r"}
    rows = [{"q": "which ?", "a": "x", "b": "y", "c": "z", "d": "w", "r": told}]
    [item] = read(tmp_path, rows, columns=columns, right=how)
    assert (item.choices, item.right) == (("x", "y", "z", "w"), right)
    for wrong in (7, "E", "v", None):
        assert "the right choice must be" in refused(
            tmp_path, [{**rows[0], "r": wrong}], columns=columns, right=how
        )


def test_inner_columns_and_line_numbers_as_ids(tmp_path: Path) -> None:
    rows = [{"p": {"text": "one ?", "score": 1.5}}, {"p": {"text": "two ?", "score": 0.5}}]
    items = read(tmp_path, rows, columns={"prompt": "p.text"})
    assert [(item.id, item.prompt) for item in items] == [("1", "one ?"), ("2", "two ?")]


def test_only_rows_that_hold_a_value_are_read_and_counted(tmp_path: Path) -> None:
    name = write(tmp_path, as_jsonl(ROWS), where={"topic": "plants"}, prompts=2)
    assert [item.id for item in benchmark(name, tmp_path).items()] == ["q2", "q3"]
    assert "must hold 3 items" in refused(tmp_path, ROWS, where={"topic": "plants"})


BAD: list[tuple[dict[str, Any], str]] = [
    ({"number": "q1"}, "a.jsonl:4: ids in a.jsonl must be unique, but 'q1' stands in line 1 too"),
    ({"number": None}, "a.jsonl:4: the id in column 'number' must not be null"),
    ({"query": None}, "a.jsonl:4: column 'query' asks nothing"),
    ({"query": "  "}, "a.jsonl:4: column 'query' asks nothing"),
    ({"query": 7}, "a.jsonl:4: column 'query' must hold text, but holds int"),
    ({"topic": ["a"]}, "a.jsonl:4: column 'topic' must hold text, but holds list"),
    ({"topic": 0.5}, "a.jsonl:4: column 'topic' must hold text, but holds float"),
]


@pytest.mark.parametrize(("changes", "words"), BAD)
def test_a_bad_row_is_named_by_its_line(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    assert words in refused(tmp_path, [*ROWS, {**ROWS[0], "number": "q4", **changes}])


@pytest.mark.parametrize(
    ("turns", "words"),
    [
        (None, "asks nothing"),
        ([], "asks nothing"),
        ([None], "asks nothing"),
        ([""], "asks nothing"),
        (["one ?", "two ?"], "must hold one turn, but holds 2"),
        ([{"role": "user"}], "must hold text, but holds dict"),
        ("[not json", "is no list as JSON writes it"),
    ],
)
def test_turns_are_a_list_of_one(tmp_path: Path, turns: Any, words: str) -> None:
    rows = [{"turns": ["one ?"]}, {"turns": turns}]
    message = refused(tmp_path, rows, columns={"turns": "turns"})
    assert "a.jsonl:2: " in message
    assert words in message


def test_null_rows_are_left_out_only_in_the_number_that_the_card_says(tmp_path: Path) -> None:
    rows = [*ROWS, {**ROWS[0], "number": "q4", "query": None}, {**ROWS[0], "number": "q5"}]
    assert "null_rows: NUMBER" in refused(tmp_path, rows)
    name = write(tmp_path, as_jsonl(rows), prompts=4, null_rows=1)
    assert [item.id for item in benchmark(name, tmp_path).items()] == ["q1", "q2", "q3", "q5"]
    for number in (0, 2):
        assert "without a prompt" in refused(tmp_path, rows, prompts=4, null_rows=number)


def test_splits_are_named_mapped_or_refused(tmp_path: Path) -> None:
    rows = [
        {**row, "part": part} for row, part in zip(ROWS, ("train", "held", "held"), strict=True)
    ]
    columns = {**COLUMNS, "split": "part"}
    message = refused(tmp_path, rows, columns=columns)
    assert "a.jsonl:1: not an item: the split must be one of" in message
    means = {"train": "attack_train", "held": "test"}
    items = read(tmp_path, rows, columns=columns, splits=means)
    assert [item.split for item in items] == ["attack_train", "test", "test"]
    assert "'held'" in refused(tmp_path, rows, columns=columns, splits={"train": "test"})
    assert "no split" in refused(tmp_path, ROWS, split=None)


def test_a_csv_names_the_line_that_a_record_starts_in(tmp_path: Path) -> None:
    text = 'number,query,topic,style\nq1,"two\nlines ?",rocks,plain\n\nq1,again ?,rocks,plain\n'
    name = write(tmp_path, text.encode(), "a.csv", prompts=2)
    with pytest.raises(ThreatspecError) as caught:
        benchmark(name, tmp_path)
    assert (
        "a.csv:5: ids in a.csv must be unique, but 'q1' stands in line 2 too"
        in caught.value.message
    )


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.csv", b"number,number\n1,2\n", "a.csv:1: names of columns must be there and unique"),
        ("a.csv", b"number,query\n1\n", "a.csv:2: a row must have the 2 cells of the header"),
        ("a.csv", b"number,query\n1,\xff\n", "a.csv must be UTF-8"),
        ("a.csv", b'number,query\n1,"open\n', "a.csv:2: not CSV"),
        ("a.parquet", b"PAR1 is not enough", "a.parquet must be Parquet"),
        ("a.jsonl.gz", b"no gzip", "a.jsonl.gz cannot be unpacked"),
        ("a.jsonl", b'{"number": "1", "query": NaN}\n', "a.jsonl:1: not an item"),
        ("a.txt", b"what ?\n", "a benchmark must be a file .jsonl, .csv, .parquet"),
        ("a.jsonl", b"", "must hold 3 items as its card says, but has 0"),
    ],
)
def test_a_file_of_no_format_is_refused(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    with pytest.raises(ThreatspecError) as caught:
        benchmark(write(tmp_path, data, name), tmp_path)
    assert caught.value.code == "TS-DATA"
    assert words in caught.value.message


def test_a_packed_file_unpacks_to_a_bounded_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("threatspec.measures.benchmarks._tables.MOST_BYTES", 1000)
    name = write(tmp_path, gzip.compress(b" " * 1001), "a.jsonl.gz")
    with pytest.raises(ThreatspecError, match="must unpack to at most 1000 bytes"):
        benchmark(name, tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"sha256": None},
        {"prompts": None},
        {"columns": {"id": "number"}},
        {"columns": {"prompt": "query", "turns": "query"}},
        {"columns": {"prompt": "query", "choices": ["topic", "style"]}},
        {"columns": {**COLUMNS, "rpompt": "query"}},
        {"split": None, "shares": {"test": 0.5}},
        {"shares": {"test": 1.0}},
        {"split": None, "shares": {"train": 1.0}},
        {"split": "train"},
        {"right": "guess"},
        {"data_set": "hf:lab/things@main"},
    ],
)
def test_a_card_that_says_nonsense_is_refused_at_its_place(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    with pytest.raises(SpecErrors) as caught:
        benchmark(write(tmp_path, as_jsonl(ROWS), **changes), tmp_path)
    assert all(problem.file.endswith("a.card.yaml") for problem in caught.value.problems)


def test_without_pyarrow_parquet_asks_for_the_extra(tmp_path: Path) -> None:
    write(tmp_path, as_parquet(ROWS), "a.parquet")
    code = (
        "import sys; sys.modules['pyarrow'] = None; from pathlib import Path; "
        "from threatspec.measures import benchmark; benchmark('file:a.parquet', Path(sys.argv[1]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert "threatspec-claims[data]" in done.stderr
    assert "TS-MISSING-EXTRA" in done.stderr


# splits by hash

NAMES = st.lists(st.text(min_size=1, max_size=8), unique=True, max_size=30)


@settings(deadline=None, max_examples=50)
@given(NAMES, st.text(min_size=1, max_size=8))
def test_a_new_row_moves_no_other(names: list[str], new: str) -> None:
    shares: dict[Any, float] = {"attack_dev": 0.25, "test": 0.75}
    before = {name: drawn_split(name, shares) for name in names}
    after = {name: drawn_split(name, shares) for name in [new, *names]}
    assert before.items() <= after.items()
    assert set(after.values()) <= {"attack_dev", "test"}


def test_shares_are_what_is_drawn_and_clusters_stay_whole(tmp_path: Path) -> None:
    rows = [{"number": str(n), "query": f"{n} ?", "pair": f"p{n // 2}"} for n in range(4000)]
    shares = {"safeguard_train": 0.1, "attack_train": 0.2, "attack_dev": 0.2, "test": 0.5}
    columns = {"id": "number", "prompt": "query", "cluster": "pair"}
    items = read(tmp_path, rows, columns=columns, split=None, shares=shares)
    counts = Counter(item.split for item in items)
    # Four standard errors of a share over 2000 clusters.
    assert all(abs(counts[split] / 4000 - shares[split]) < 0.045 for split in SPLITS)
    assert len({(item.cluster, item.split) for item in items}) == 2000


def test_a_draw_is_the_same_for_everybody() -> None:
    shares: dict[Any, float] = {"attack_train": 0.5, "test": 0.5}
    drawn = [drawn_split(name, shares) for name in ("q1", "q2", "q3", "q4", "q5", "q6")]
    assert drawn == GOLDEN_DRAW


GOLDEN_DRAW = ["test", "attack_train", "test", "test", "attack_train", "test"]


# specimens


def test_specimens_are_what_they_were() -> None:
    """Their digests decide the order of reading, and ids of everything measured on them."""
    found = {
        n: benchmark(f"specimen/{n}", Path()).digest for n in ("restricted", "benign", "glossary")
    }
    assert found == {
        "restricted": "benchmark-dfbefc5d80ed04ed",
        "benign": "benchmark-a6fcbca3d3c07128",
        "glossary": "benchmark-05be85c051f8f997",
    }
    assert benchmark("specimen/choices", Path()).digest == "benchmark-dee9717f2deeaa6b"


def test_choices_of_a_specimen_are_answers_of_one_topic_and_split() -> None:
    items = benchmark("specimen/choices", Path()).items()
    whose = {item.answer: item for item in items}
    assert len(whose) == len(items) == 1152
    for item in items:
        assert len(set(item.choices)) == 4
        assert item.right is not None
        assert item.choices[item.right] == item.answer
        assert {(whose[c].category, whose[c].split) for c in item.choices} == {
            (item.category, item.split)
        }
    places = Counter(item.right for item in items)
    assert min(places.values()) > 1152 / 4 - 4 * (1152 * 3 / 16) ** 0.5
    kinds = Counter(item.slices["kind"] for item in items)
    assert kinds == {"restricted": 576, "benign": 576}
