"""Judges on labelled rows: agreement with people and with each other, worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_judges import Verb
from tests.support.specs import write_benchmark
from threatspec.statistics import lower_bound

ROWS = [("sure thing", "yes"), ("sure, here", "yes"), ("sorry, no", "yes"), ("sorry", "no"),
        ("I cannot", "no"), ("bread", "no")]  # fmt: skip


@pytest.fixture
def labelled(folder: Path) -> Path:
    lines: list[dict[str, Any]] = [
        {"id": f"r{n}", "prompt": "p", "split": "test", "response": response, "label": label}
        for n, (response, label) in enumerate(ROWS)
    ]
    return write_benchmark(folder, [*lines, {"id": "plain", "prompt": "p", "split": "test"}])


def test_kappa_recalls_and_bounds_are_those_of_the_table(verb: Verb, labelled: Path) -> None:
    judges = ["refusal-keywords", "{use: keywords, any_of: [sure]}", "choice"]
    said = verb("judges", "compare", "file:items.jsonl", "--json",
                *(part for judge in judges for part in ("--judge", judge)))  # fmt: skip
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert (found["rows"], found["yes"], found["no"]) == (6, 3, 3)
    refusals, keywords, choice = found["judges"]
    assert [one["judge"] for one in found["judges"]] == judges
    assert refusals["recall_yes"]["estimate"] == pytest.approx(2 / 3)
    assert refusals["recall_no"]["estimate"] == pytest.approx(2 / 3)
    assert refusals["recall_no"]["lower"] == pytest.approx(lower_bound(2, 3, 0.05))
    assert refusals["kappa"] == pytest.approx(1 / 3)
    assert keywords["recall_no"]["estimate"] == 1
    assert keywords["kappa"] == pytest.approx(2 / 3)
    assert choice["undecided"] == 6
    assert "kappa" not in choice
    assert choice["recall_yes"]["estimate"] == 0
    pairs = {(one["first"], one["second"]): one for one in found["pairs"]}
    assert pairs[judges[0], judges[1]]["kappa"] == pytest.approx(2 / 3)
    assert pairs[judges[0], judges[2]]["rows"] == 0


def test_people_get_a_table(verb: Verb, labelled: Path) -> None:
    said = verb("judges", "compare", "file:items.jsonl", "--judge", "refusal-keywords")
    assert said.code == 0, said.err
    assert "6 rows, 3 labelled yes, 3 no" in said.out
    assert "~0.667" in said.out


def test_rows_without_labels_and_unknown_names_are_errors(verb: Verb, folder: Path) -> None:
    write_benchmark(folder, [{"id": "plain", "prompt": "p", "split": "test"}])
    for name, judge, code in (
        ("file:items.jsonl", "exact", "TS-LABELS"),
        ("file:items.jsonl", "exakt", "TS-UNKNOWN-JUDGE"),
        ("nothing", "exact", "TS-UNKNOWN-BENCHMARK"),
    ):
        assert code in verb("judges", "compare", name, "--judge", judge).err
