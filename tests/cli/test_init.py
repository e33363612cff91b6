"""`init`: what it writes can be checked and run at once, and nothing of anybody is overwritten."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Said

Verb = Callable[..., Said]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh workspace whose first claim was run (a few seconds: nothing is trained)."""
    folder = tmp_path_factory.mktemp("workspace")
    for arguments in (["init"], ["run", "claims/first.yaml"]):
        command = [sys.executable, "-m", "threatspec", *arguments]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return folder


def test_the_first_claim_is_supported_and_its_results_lie_where_the_workspace_says(
    ran: Path, verb: Verb
) -> None:
    found = verb("verdict", ran / "runs" / "first", "--json")
    assert found.code == 0
    assert [claim["verdict"] for claim in json.loads(found.out)["claims"]] == ["SUPPORTED"]


def test_the_scaffold_is_clean(folder: Path, verb: Verb) -> None:
    said = verb("init", "new", "--paper")
    assert said.code == 0
    assert "cd new" in said.out
    assert "checklist" in (folder / "new" / "README.md").read_text().lower()
    assert (folder / "new" / "reports" / "README.md").is_file()
    assert (folder / "new" / ".gitignore").read_text() == "runs/\n"
    found = verb("check", folder / "new" / "claims", "--json")
    assert found.code == 0
    assert json.loads(found.out)["problems"] == []


def test_the_card_of_its_manual_is_a_card(
    folder: Path, verb: Verb, monkeypatch: pytest.MonkeyPatch
) -> None:
    verb("init")
    text = (folder / "attacks" / "README.md").read_text()
    card = text.partition("```yaml\n")[2].partition("```")[0]
    (folder / "attacks" / "prefill-three.yaml").write_text(card)
    claims = folder / "claims" / "first.yaml"
    claims.write_text(claims.read_text().replace("- {use: prefill, k: 4}", "- prefill-three"))
    assert verb("check").code == 0
    assert "prefill-three" in verb("list", "attacks").out
    assert "k = 3" in verb("explain", "prefill-three").out


@pytest.mark.parametrize("taken", ["README.md", "claims/first.yaml", "threatspec.yaml"])
def test_nothing_is_overwritten(folder: Path, verb: Verb, taken: str) -> None:
    (folder / taken).parent.mkdir(exist_ok=True)
    (folder / taken).write_text("mine")
    said = verb("init")
    assert said.code == 4
    assert taken in said.err
    assert "[TS-USAGE]" in said.err
    assert [p for p in folder.rglob("*") if p.is_file()] == [folder / taken]
    assert (folder / taken).read_text() == "mine"


def test_a_folder_that_cannot_be_made_is_no_crash(folder: Path, verb: Verb) -> None:
    (folder / "file").write_text("")
    said = verb("init", "file/inside")
    assert said.code == 4
    assert "[TS-USAGE]" in said.err


def test_check_without_files_needs_a_workspace(folder: Path, verb: Verb) -> None:
    said = verb("check")
    assert said.code == 4
    assert "threatspec.yaml" in said.err


def test_check_prints_problems_as_data(folder: Path, verb: Verb) -> None:
    (folder / "x.yaml").write_text("threatspec: 1\nclaim: []\n")
    said = verb("check", "x.yaml", "--json")
    found = json.loads(said.out)
    assert said.code == 2
    assert said.err == ""
    assert found["schema"] == "threatspec/check/v2"
    first = next(p for p in found["problems"] if p["code"] == "TS-UNKNOWN-FIELD")
    assert (first["file"], first["line"], first["column"]) == ("x.yaml", 2, 1)


def test_a_plan_can_be_written_down_before_it_is_run(ran: Path, verb: Verb, tmp_path: Path) -> None:
    said = verb("plan", ran / "claims" / "first.yaml", "--out", tmp_path / "plan.json")
    written = (tmp_path / "plan.json").read_bytes()
    assert written == (ran / "runs" / "first" / "plan.json").read_bytes()
    assert hashlib.sha256(written).hexdigest() in said.err


def test_show_as_data(ran: Path, verb: Verb) -> None:
    results = ran / "runs" / "first"
    cells = json.loads(verb("show", "--run", results, "--json").out)["cells"]
    attacked = next(c for c in cells if c["procedure"] == "prefill k=1")
    one = json.loads(verb("show", attacked["id"], "--run", results, "--json").out)["cell"]
    assert one["measures"]["asr"] == {"no": 40}  # read until settled
    with_prompt = ["show", attacked["id"], "--run", results, "--prompt", _prompt(results)]
    shown = json.loads(verb(*with_prompt, "--json").out)
    assert shown["judged"]["asr"]["outcome"] in {"yes", "no"}
    [reply] = shown["replies"]
    assert reply["reply"] in verb(*with_prompt).out


def test_compare_sets_folders_and_subjects_side_by_side(ran: Path, verb: Verb) -> None:
    results = ran / "runs" / "first"
    two = json.loads(verb("compare", results, results, "--json").out)
    [row] = two["rows"]
    assert [entry["verdict"] for entry in row["columns"]] == ["SUPPORTED", "SUPPORTED"]
    assert row["columns"][0]["worst"]["tally"]["units"] == 40
    text = verb("compare", results).out
    assert "against prefiller" in text
    assert max(map(len, text.splitlines())) <= 80
    assert verb("compare", ran).code == 4


def _prompt(results: Path) -> str:
    from threatspec.records import Ledger

    with Ledger.open(results) as ledger:
        rows = (row for trial in ledger.results() for row in ledger.rows(trial))
        return next(row.item for row in rows if row.item.startswith("restricted"))
