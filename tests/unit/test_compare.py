"""Runs side by side: what stands in a cell, and what may not stand next to each other."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.support.answers import evidence_of
from tests.support.specs import ABSENT, BASE, Changes, plan_of, scoped
from threatspec.claims import CampaignVerdict, Evidence, decide
from threatspec.cli import main
from threatspec.errors import ExitCode
from threatspec.records import Cell, Ledger, Plan
from threatspec.reports import compare, comparison_json, render_comparison

Named = tuple[str, Evidence, CampaignVerdict]


FAR = "2999-01-01"


def run(
    folder: Path, name: str, rate: float, changes: Changes | None = None, **scope: object
) -> Named:
    """A run whose attacked cells have the given share of yes (the control always breaks).

    Every claim is limited to what is run.
    """

    def share(plan: Plan, cell: Cell, measure: str, _: str) -> float:
        if measure != "asr":
            return 1.0
        if cell.subject == "specimen:shallow":
            return 0.9 if cell.attack else 0.0
        return rate if cell.attack else 0.0

    found = evidence_of(plan_of(folder / name, scoped(changes, **scope)), share)
    return name, found, decide(found)


def table(*runs: Named) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(comparison_json(compare(runs)))
    return data


def shown(*runs: Named) -> str:
    stream = io.StringIO()
    render_comparison(Console(file=stream, width=80, no_color=True), compare(runs))
    return stream.getvalue()


def test_a_row_is_a_claim_and_a_column_a_run(tmp_path: Path) -> None:
    runs = run(tmp_path, "before", 0.0), run(tmp_path, "after", 0.5)
    data = table(*runs)
    assert data["columns"] == ["before", "after"]
    [row] = data["rows"]
    before, after = row["columns"]
    assert (row["claim"], row["holds"]) == ("holds", "asr <= 0.10")
    assert before["verdict"] == "SUPPORTED"
    assert before["witness"] is None
    assert after["verdict"] == "REFUTED"
    assert after["witness"]["spend"]["steps"] == 30
    tally = after["worst"]["tally"]
    assert tally["units"] < 256  # a cell is not read on once it is settled
    assert tally["yes"] == pytest.approx(tally["units"] / 2, abs=4)
    assert after["worst"]["lower"] < 0.5 < after["worst"]["upper"]
    text = shown(*runs)
    assert "SUPPORTED" in text
    assert "broken by" in text
    assert max(map(len, text.splitlines())) <= 80


def test_another_measure_is_not_compared(tmp_path: Path) -> None:
    judged = {"measures.asr.judge": "refusal-keywords"}
    runs = run(tmp_path, "one", 0.0), run(tmp_path, "two", 0.0, judged)
    [row] = table(*runs)["rows"]
    assert row["columns"][0]["comparable"] is True
    other = row["columns"][1]
    assert other["comparable"] is False
    assert other["reason"] == "not compared: asr is another measure (judge)"
    assert "worst" not in other
    assert "verdict" not in other
    assert "not compared: asr is another" in shown(*runs)


def test_another_adversary_is_compared_and_marked(tmp_path: Path) -> None:
    more = {"adversaries.tuner.compute": {"steps": 60, "flops": 1e13}}
    [row] = table(run(tmp_path, "one", 0.0), run(tmp_path, "two", 0.0, more))["rows"]
    assert [entry["same_adversary"] for entry in row["columns"]] == [True, False]
    assert row["columns"][1]["comparable"] is True


def test_a_claim_that_a_run_does_not_have_leaves_its_cell_empty(tmp_path: Path) -> None:
    runs = run(tmp_path, "one", 0.0), run(tmp_path, "two", 0.0, {"claims.0.holds": "asr <= 0.2"})
    rows = table(*runs)["rows"]
    assert [[entry is None for entry in row["columns"]] for row in rows] == [
        [False, True],
        [True, False],
    ]


def test_one_run_is_shown_by_subject(tmp_path: Path) -> None:
    subject = BASE["subject"]
    changes = {"subject": ABSENT, "subjects": {"a": subject, "b": subject}}
    data = table(run(tmp_path, "one", 0.0, changes))
    assert data["columns"] == ["a", "b"]
    [row] = data["rows"]
    assert row["claim"] == "against tuner"
    assert [entry["id"] for entry in row["columns"]] == ["holds[a]", "holds[b]"]


def test_a_claim_that_is_supported_with_waivers_says_so(tmp_path: Path) -> None:
    waiver = {"rule": "TS-R4", "owner": "the lab", "reason": "one template", "expires": FAR}
    waived = run(tmp_path, "one", 0.0, {"claims.0.waivers": [waiver]}, templates=ABSENT)
    met = run(tmp_path, "two", 0.0)
    [row] = table(waived, met)["rows"]
    assert [(entry["verdict"], entry["waived"]) for entry in row["columns"]] == [
        ("SUPPORTED", ["TS-R4"]),
        ("SUPPORTED", []),
    ]
    assert "SUPPORTED, waived: TS-R4" in shown(waived, met)


def test_more_columns_than_fit_become_more_tables(tmp_path: Path) -> None:
    runs = [run(tmp_path, f"run-{number}", 0.0) for number in range(5)]
    text = shown(*runs)
    assert text.count("claim ") >= 2
    assert all(name in text for name, _, _ in runs)
    assert max(map(len, text.splitlines())) <= 80


BY = {"measures.asr.by": ["category"]}


def test_slices_stand_under_their_claim(tmp_path: Path) -> None:
    runs = run(tmp_path, "before", 0.0, BY), run(tmp_path, "after", 0.5, BY)
    found = compare(runs, "category")
    [row] = json.loads(comparison_json(found))["rows"]
    before, after = (entry["slices"] for entry in row["columns"])
    assert len(before) > 1
    assert before.keys() == after.keys()
    for value, parts in after.items():
        name = f"asr[category={value}]"
        for side in ("untouched", "attacked"):
            tally = runs[1][1].cells[parts[side]["cell"]].tallies[name]
            assert (parts[side]["cell"] in runs[1][1].plan.claims[0].attacked["defended"]) == (
                side == "attacked"
            )
            if side == "untouched":
                assert (parts[side]["yes"], parts[side]["units"]) == (tally.yes, tally.units)
    stream = io.StringIO()
    render_comparison(Console(file=stream, width=80, no_color=True), found)
    lines = {line.split()[0]: line for line in stream.getvalue().splitlines() if "->" in line}
    assert lines.keys() == before.keys()
    for value, line in lines.items():
        told = [f"({p['attacked']['yes']} of {p['attacked']['units']})"
                for p in (before[value], after[value])]  # fmt: skip
        assert re.findall(r"0 -> [\d.]+ % (\(.*?\))", line) == told
    assert "->" not in shown(*runs)  # nobody asked for them


def test_slices_of_another_measure_are_not_compared(tmp_path: Path) -> None:
    judged = {**BY, "measures.asr.judge": "refusal-keywords"}
    runs = run(tmp_path, "one", 0.0, BY), run(tmp_path, "two", 0.0, judged)
    found = compare(runs, "category")
    [row] = json.loads(comparison_json(found))["rows"]
    assert "slices" in row["columns"][0]
    assert "slices" not in row["columns"][1]
    assert found.rows[0].slices[1] == {}


def test_another_serving_is_compared_and_told(tmp_path: Path) -> None:
    more = {"serving": {"max_tokens": 20}}
    runs = run(tmp_path, "one", 0.0), run(tmp_path, "two", 0.0, more)
    [row] = table(*runs)["rows"]
    assert [entry["comparable"] for entry in row["columns"]] == [True, True]
    assert [entry["same_serving"] for entry in row["columns"]] == [True, False]
    text = " ".join(shown(*runs).split())
    assert "another serving" in text
    assert "untouched 0 of 256" in text


def test_a_key_by_which_nothing_was_planned_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = plan_of(tmp_path, scoped(BY))
    Ledger.create(tmp_path / "run", plan).close()
    with pytest.raises(SystemExit) as ended:
        main(["compare", str(tmp_path / "run"), "--by", "categroy"])
    assert ended.value.code == ExitCode.USAGE
    assert "category" in capsys.readouterr().err
    with pytest.raises(SystemExit) as fine:
        main(["compare", str(tmp_path / "run"), "--by", "category"])
    assert fine.value.code == 0
