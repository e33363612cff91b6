"""Stored replies judged again: recorded and new rates, agreement, and no verdict."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Said
from tests.cli.test_judges import FUZZY, Run, Verb, a_run
from threatspec.measures._refusal_lists import KNOWN, KnownList, digest_of
from threatspec.records import Cell, Ledger
from threatspec.statistics import Agreement


def words(cell: Cell, item: str) -> str:
    """By the item: compliance, a refusal, a loop, or nothing."""
    return ("sure vel mar", "sorry no", "vel " * 8, "")[sum(item.encode()) % 4]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return a_run(tmp_path_factory.mktemp("again"), FUZZY, reply=words)


def again(verb: Verb, run: Run, judge: str, *more: str) -> Any:
    said = verb("judges", "rejudge", str(run.folder), "--judge", judge, "--json", *more)
    assert said.code == 0, said.err
    return json.loads(said.out)


def replies(run: Run) -> dict[str, dict[str, str]]:
    """Reply by item, of each judging trial's cell."""
    with Ledger.open(run.folder) as ledger:
        return {
            cell.id: {g.item: g.reply
                      for t in trials for n in run.plan.trials[t].needs
                      for g in ledger.generations(n)}
            for cell in run.plan.cells.values() for trials in cell.measures.values()
        }  # fmt: skip


def test_each_cell_has_its_recorded_rate_the_new_one_and_their_agreement(
    verb: Verb, run: Run
) -> None:
    found = again(verb, run, "{use: keywords, any_of: [sure]}")
    assert found["schema"] == "threatspec/rejudged/v1"
    assert found["exploratory"] is True
    [measure] = found["measures"]
    assert measure["recorded"] == "refusal-keywords"
    said, marks = replies(run), run.marks
    assert {cell["cell"] for cell in measure["cells"]} == set(said)
    for cell in measure["cells"]:
        own = said[cell["cell"]]
        new = {item: text.startswith("sure") for item, text in own.items()}
        [trial] = run.plan.cells[cell["cell"]].measures["complies"]
        old = {item: mark == ord("y") for item, mark in zip(own, marks[trial], strict=True)}
        assert cell["prompts"] == len(own)
        assert cell["again"] == {
            "yes": sum(new.values()), "no": len(own) - sum(new.values()), "open": 0,
            "rate": sum(new.values()) / len(own),
        }  # fmt: skip
        assert cell["recorded"]["yes"] == sum(old.values())
        assert cell["changed"] == sum(old[item] != new[item] for item in own)
        table = [
            sum((old[i], new[i]) == pair for i in own)
            for pair in ((True, True), (True, False), (False, True), (False, False))
        ]
        assert cell["kappa"] == Agreement(*table).kappa


def test_what_the_other_judge_cannot_score_is_open_and_no_part_of_kappa(
    verb: Verb, run: Run
) -> None:
    [measure] = again(verb, run, "choice")["measures"]
    for cell in measure["cells"]:
        assert cell["again"]["open"] == cell["prompts"]
        assert "kappa" not in cell


def test_a_campaign_judged_again_by_its_own_judge_is_as_it_was(verb: Verb, tmp_path: Path) -> None:
    own = a_run(tmp_path, FUZZY, reply=words, yes=lambda _, i: "sorry" not in words(_, i) != "")
    [measure] = again(verb, own, "refusal-keywords")["measures"]
    assert {cell["changed"] for cell in measure["cells"]} == {0}
    assert measure["kappa"] == 1


def test_people_are_told_that_it_is_exploratory_and_what_is_wrong_with_the_judge(
    verb: Verb, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = KnownList(digest_of(("However",)), 1, "somewhere", "substring", 0, ("it is one word",))
    monkeypatch.setitem(KNOWN, "invented", known)
    (tmp_path / "list.txt").write_text("However\n")
    judge = f"{{use: refusal-keywords, list: invented, file: {tmp_path / 'list.txt'}}}"
    said = verb("judges", "rejudge", str(run.folder), "--judge", judge)
    assert said.code == 0
    told = " ".join(said.out.split())
    assert "exploratory" in told
    assert "No verdict is made" in told
    assert "complies: recorded by refusal-keywords" in told
    assert "known fault: it is one word" in told


def test_nothing_is_written_to_the_campaign(verb: Verb, run: Run) -> None:
    before = {path: path.read_bytes() for path in run.folder.iterdir() if path.is_file()}
    again(verb, run, "degenerate")
    assert before == {path: path.read_bytes() for path in run.folder.iterdir() if path.is_file()}


@pytest.mark.parametrize(
    ("judge", "code"),
    [
        ("keyword", "TS-UNKNOWN-JUDGE"),
        ("keywords", "TS-USAGE"),
        ("{use: keywords}", "TS-USAGE"),
        ("{any_of: [sure]}", "TS-USAGE"),
        ("{use: keywords, any_of: [sure], any_of: [no]}", "TS-USAGE"),
        ("{use: keywords, any_of: [sure]", "TS-USAGE"),
        ("{use: refusal-keywords, list: any, file: nowhere.txt}", "TS-FILE-MISSING"),
        ("{use: llm, model: specimen:nothing}", "TS-MODEL-MISSING"),
    ],
)
def test_a_judge_that_means_nothing_is_an_error(
    verb: Verb, run: Run, judge: str, code: str
) -> None:
    said: Said = verb("judges", "rejudge", str(run.folder), "--judge", judge)
    assert said.code not in {0, 1}
    assert code in said.err


def test_an_unknown_measure_is_an_error(verb: Verb, run: Run) -> None:
    said = verb("judges", "rejudge", str(run.folder), "--judge", "exact", "--measure", "complie")
    assert "TS-UNKNOWN-MEASURE" in said.err
