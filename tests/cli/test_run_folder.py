"""A folder of claims files is run file by file, and each has its page."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Said
from tests.support.specs import BASE

pytestmark = pytest.mark.campaign

UNTOUCHED = {**BASE["adversaries"]["tuner"], "attacks": [{"use": "prefill", "k": 1}]}


def spec(expect: str, **subject: str) -> dict[str, Any]:
    [claim] = BASE["claims"]
    return {
        **BASE,
        "subject": {"model": "specimen:shallow", "control": "specimen:shallow", **subject},
        "measures": {"asr": {"benchmark": "specimen/restricted", "judge": "exact"}},
        "adversaries": {"tuner": UNTOUCHED},
        "claims": [{**claim, "expect": expect}],
    }


def text_of(data: dict[str, Any]) -> str:
    """One key to a line, as people write it; JSON values are YAML."""
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in data.items())


@pytest.fixture
def papers(folder: Path) -> Path:
    place = folder / "claims" / "papers"
    place.mkdir(parents=True)
    (folder / "reports").mkdir()
    (folder / "threatspec.yaml").write_text("schema: threatspec/workspace/v1\nclaims: [claims]\n")
    (place / "a.yaml").write_text(text_of(spec("REFUTED")))
    (place / "published.yaml").write_text(text_of(spec("REFUTED", model="hf:o/n@" + "0" * 40)))
    (place / "rows.card.yaml").write_text("schema: threatspec/benchmark-card/v1\n")
    return place


def test_files_on_specimens_are_run_and_published(
    verb: Callable[..., Said], papers: Path, folder: Path
) -> None:
    said = verb("run", "claims/papers", "--specimens")
    assert said.code == 0, said.err
    assert "REFUTED       holds" in said.out
    assert (folder / "runs/papers/a/plan.json").is_file()
    assert (folder / "runs/papers/a/report.html").is_file()
    assert "REFUTED" in (folder / "reports/papers/a.md").read_text()
    assert not (folder / "runs/papers/published").exists()


def test_a_file_that_cannot_be_run_does_not_keep_the_others_from_it(
    verb: Callable[..., Said], papers: Path
) -> None:
    (papers / "0-first.yaml").write_text(text_of(spec("REFUTED", control="specimen:shalow")))
    said = verb("run", "claims/papers", "--specimens", "--json")
    assert said.code == 2
    assert "specimen:shalow" in said.err
    assert json.loads(said.out)["a"]["claims"][0]["verdict"] == "REFUTED"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["claims/papers/a.yaml", "--specimens"], "`--specimens` chooses among the files"),
        (["claims/papers", "--html", "page.html"], "`--html` is about one campaign"),
    ],
)
def test_flags_of_a_file_and_of_a_folder_are_not_mixed(
    verb: Callable[..., Said], papers: Path, arguments: list[str], words: str
) -> None:
    said = verb("run", *arguments)
    assert (said.code, words in said.err) == (4, True)


def test_a_folder_without_claims_is_an_error(verb: Callable[..., Said], folder: Path) -> None:
    (folder / "empty").mkdir()
    said = verb("run", "empty")
    assert said.code == 2
    assert "must hold claims files, but holds none" in said.err
