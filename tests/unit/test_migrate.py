"""Older formats are read as what they mean today, with problems where their text stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from threatspec.cli import main
from threatspec.errors import Problem, SpecErrors
from threatspec.loading import load_spec, notes

NEW = """\
threatspec: 1
subject:
  model: specimen:deep
  undefended: specimen:undefended
  control: specimen:shallow
measures:
  asr: {benchmark: specimen/restricted, judge: exact}
  utility:
    benchmark: specimen/benign
    judge: {use: keywords, any_of: [base, budget]}
adversaries:
  tuner:
    goal: obtain the procedures
    access: open-weights
    data: {harmful: {n: 10, from: specimen/restricted#attack_train}}
    compute: {steps: 30, flops: 1e12}
    attacks: [full-finetune]
claims:
  - id: stays-refused
    says: It stays refused.
    against: tuner
    holds: asr <= 0.1
    expect: {verdict: REFUTED, because: expected}
"""
RENAMES = (
    ("threatspec: 1", "threatspec: 0"),
    ("  undefended: ", "  base: "),
    ("judge: exact", "judged_by: exact"),
    ("judge: {use", "judged_by: {use"),
    ("    compute: ", "    budget: "),
    ("    expect: ", "    expected: "),
)


def older() -> str:
    text = NEW
    for now, then in RENAMES:
        assert text.count(now) == 1, now
        text = text.replace(now, then)
    return text


def write(folder: Path, text: str, name: str = "x.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def problems(path: Path) -> tuple[Problem, ...]:
    with pytest.raises(SpecErrors) as caught:
        load_spec(path)
    return caught.value.problems


def test_a_file_of_format_0_is_the_same_spec_as_its_translation(tmp_path: Path) -> None:
    assert (
        load_spec(write(tmp_path, older())).spec == load_spec(write(tmp_path, NEW, "n.yaml")).spec
    )


def test_several_subjects_are_renamed_too(tmp_path: Path) -> None:
    subject = "subject:\n  model: specimen:deep\n  base: specimen:undefended\n"
    subjects = "subjects:\n  one:\n    model: specimen:deep\n    base: specimen:undefended\n"
    text = older().replace(f"{subject}  control", f"{subjects}    control")
    assert load_spec(write(tmp_path, text)).spec.subjects["one"].undefended


@pytest.mark.parametrize(
    ("old", "new", "code", "caret_on"),
    [
        ("steps: 30", "steps: 010", "TS-WRONG-TYPE", "010"),
        ("steps: 30", "stpes: 30", "TS-UNKNOWN-FIELD", "stpes"),
        ("judged_by: exact", "judged_by: 3", "TS-WRONG-TYPE", "3}"),
        ("verdict: REFUTED", "verdict: REFUTE", "TS-WRONG-TYPE", "REFUTE,"),
        ("  base: specimen:undefended", "  base: [a]", "TS-WRONG-TYPE", "[a]"),
    ],
)
def test_problems_inside_what_was_renamed_stand_where_they_are_written(
    tmp_path: Path, old: str, new: str, code: str, caret_on: str
) -> None:
    text = older().replace(old, new)
    (found,) = problems(write(tmp_path, text))
    before = text[: text.index(caret_on)]
    place = before.count("\n") + 1, len(before) - before.rfind("\n")
    assert (found.code, found.line, found.column) == (code, *place), str(found)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("  base:", "  undefended: x\n  base:"),
        ("judged_by: exact", "judge: x, judged_by: exact"),
        ("    budget:", "    compute: x\n    budget:"),
        ("    expected:", "    expect: x\n    expected:"),
    ],
)
def test_a_name_of_the_newer_format_is_unknown_in_the_older_and_changes_nothing(
    tmp_path: Path, old: str, new: str
) -> None:
    (found,) = problems(write(tmp_path, older().replace(old, new)))
    assert found.code == "TS-UNKNOWN-FIELD"
    assert f"says `{old.strip().partition(':')[0]}`" in found.message


@pytest.mark.parametrize(("now", "then"), RENAMES[1:])
def test_a_name_of_the_older_format_is_unknown_in_the_newer(
    tmp_path: Path, now: str, then: str
) -> None:
    found = problems(write(tmp_path, NEW.replace(now, then)))
    assert "TS-UNKNOWN-FIELD" in {p.code for p in found}


@pytest.mark.parametrize(
    ("version", "says"), [("2", "later version"), ("-1", "but got -1"), ("0.0", "but got 0.0")]
)
def test_other_formats_are_refused_by_name(tmp_path: Path, version: str, says: str) -> None:
    text = NEW.replace("threatspec: 1", f"threatspec: {version}\nbogus: 1")
    (found,) = problems(write(tmp_path, text))
    assert found.code == "TS-FORMAT-VERSION"
    assert says in found.message
    assert (found.line, found.column) == (1, 13)


def test_a_file_of_format_0_may_include_one_of_format_1(tmp_path: Path) -> None:
    more = "threatspec: 1\nmeasures:\n  more: {benchmark: specimen/benign, judge: exact}\n"
    write(tmp_path, more, "more.yaml")
    loaded = load_spec(write(tmp_path, older() + "include: [more.yaml]\n"))
    assert set(loaded.spec.measures) == {"asr", "utility", "more"}
    assert loaded.older == {f"{tmp_path / 'x.yaml'}:1": 0}


def test_check_notes_an_older_format_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, older())
    with pytest.raises(SystemExit) as ended:
        main(["check", str(path)])
    said = capsys.readouterr()
    assert ended.value.code == 0
    (line,) = [line for line in said.err.splitlines() if "format" in line]
    assert line.startswith(f"{path}:1: note: format 0 ")
    assert "no problem" in said.out
    assert not list(notes(load_spec(write(tmp_path, NEW))))
