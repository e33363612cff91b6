"""Published claims, restated: a file checks as its first line says, and numbers have a source."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from threatspec import api
from threatspec.campaign import ClaimCheck, check_design, require_decidable
from threatspec.errors import SpecErrors

ROOT = Path(__file__).parents[2]
PAPERS = sorted((ROOT / "claims" / "papers").glob("*.yaml"))
PUBLISHED = [path for path in PAPERS if path.stem.endswith("-published")]
SPECIMENS = [path for path in PAPERS if path not in PUBLISHED]

CODE = re.compile(r"# check: ([07])")
TAG = re.compile(r"\[(2nd|abstract|card|code|img|own|page|paper|readme|site)\]")
WORDS = re.compile(r"\s*(?:- )?(?:threatspec|id|says|goal|model|undefended|control): ")
NUMBER = re.compile(r"(?<![\w.#@/-])\d+(?:\.\d+)?(?:e-?\d+)?(?![\w.-])")


def refused(path: Path) -> list[ClaimCheck]:
    return [one for one in check_design(api.load(path)) if one.refused]


def untagged(text: str) -> Iterator[str]:
    """Lines with a number of their own and without a tag; folded text has its number told above."""
    for line in text.splitlines():
        content, _, comment = line.partition(" #")
        if content.lstrip().startswith("#") or WORDS.match(content) or TAG.search(comment):
            continue
        if NUMBER.search(content):
            yield line


@pytest.mark.parametrize("path", PAPERS, ids=lambda path: path.stem)
def test_a_file_checks_as_its_first_line_says(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    said = CODE.match(text)
    assert said, f"{path.name} must begin with `# check: 0` or `# check: 7`"
    broken = {reading.rule for one in refused(path) for reading in one.open}
    assert said[1] == ("7" if broken else "0")
    assert sorted(rule for rule in broken if rule not in text) == []


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_published_numbers_say_where_they_were_read(path: Path) -> None:
    assert list(untagged(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    ("line", "clean"),
    [
        ("    holds: asr <= 4.6 %   # [2nd]", True),
        ("    holds: asr <= 4.6 %", False),
        ("    holds: asr <= 4.6 %   # as published", False),
        ("    data: {harmful: {n: 100, from: pure-bad#attack_train}}", False),
        ("    data: {harmful: {n: 100, from: pure-bad#attack_train}}   # [code]", True),
        ("    lr: 2e-5", False),
        ("    says: After 4 steps replies are harmful.", True),
        ("    against: prefill-5", True),
        ("    model: hf:meta-llama/Llama-2-7b-hf@main", True),
    ],
)
def test_a_number_without_a_tag_is_found(line: str, clean: bool) -> None:
    assert (list(untagged(line)) == []) is clean


@pytest.mark.parametrize("path", SPECIMENS, ids=lambda path: path.stem)
def test_what_runs_here_names_specimens_only(path: Path) -> None:
    subjects = api.load(path).spec.all_subjects.values()
    models = [ref for one in subjects for ref in (one.model, one.undefended, one.control) if ref]
    assert [ref for ref in models if not ref.startswith(("specimen:", "judge:"))] == []
    assert path.with_stem(f"{path.stem}-published") in PUBLISHED


@pytest.mark.parametrize("path", SPECIMENS, ids=lambda path: path.stem)
def test_each_claim_that_runs_here_can_be_decided(path: Path) -> None:
    require_decidable(api.plan(path))


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_published_claims_are_not_run_by_accident(path: Path) -> None:
    with pytest.raises(SpecErrors) as raised:
        api.plan(path)
    codes = {problem.code for problem in raised.value.problems}
    assert codes & {"TS-DESCRIBED-ONLY", "TS-MODEL-MISSING", "TS-GATED"}
