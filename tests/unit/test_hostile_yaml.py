"""Hostile claims files: refused with a place and a code, or taken for the text that they are.

Whatever the file, nothing is executed and nothing hangs; the timeout is a guard, not a measure.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from threatspec.errors import Problem, SpecErrors
from threatspec.loading import load_spec
from threatspec.reports import visible

pytestmark = pytest.mark.timeout(20)

GOOD = """\
threatspec: 1
subject: {model: specimen:deep, control: specimen:shallow}
measures:
  asr: {benchmark: specimen/restricted, judge: exact}
adversaries:
  small:
    goal: obtain the procedures
    access: completion-api
    attacks: [prefill]
claims:
  - id: stays-refused
    says: Requests stay refused.
    against: small
    holds: asr <= 0.10
    confidence: 0.95
"""


def write(folder: Path, content: str | bytes) -> Path:
    path = folder / "x.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def refused(path: Path) -> list[Problem]:
    with pytest.raises(SpecErrors) as caught:
        load_spec(path)
    return list(caught.value.problems)


def changed(old: str, new: str) -> str:
    assert GOOD.count(old) == 1, old
    return GOOD.replace(old, new)


@pytest.fixture(autouse=True)
def nothing_is_executed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading a file starts no process."""

    def never(*args: Any, **kwargs: Any) -> None:
        raise AssertionError(f"executed: {args}")

    for target in ("os.system", "os.popen", "subprocess.Popen"):
        monkeypatch.setattr(target, never)


def test_the_file_that_is_spoilt_below_is_fine(tmp_path: Path) -> None:
    assert load_spec(write(tmp_path, GOOD)).spec.claims[0].confidence == 0.95


# bytes and characters

BYTES: dict[str, tuple[bytes, str, int]] = {
    "tab as indentation": (GOOD.replace("  asr:", "\tasr:").encode(), "TS-YAML-SYNTAX", 4),
    "NUL": (GOOD.replace("obtain", "ob\0tain").encode(), "TS-YAML-SYNTAX", 7),
    "a lone surrogate": (
        GOOD.encode().replace(b"obtain", b"\xed\xa0\x80"),
        "TS-FILE-UNREADABLE",
        7,
    ),
    "UTF-16 with its mark": (GOOD.encode("utf-16"), "TS-FILE-UNREADABLE", 1),
    "UTF-16 without": (GOOD.encode("utf-16-le"), "TS-YAML-SYNTAX", 1),
    "UTF-32": (GOOD.encode("utf-32"), "TS-FILE-UNREADABLE", 1),
    "Latin-1": (GOOD.replace("obtain", "für").encode("latin-1"), "TS-FILE-UNREADABLE", 7),
    "a mark inside": (GOOD.replace("obtain", "ob\ufefftain").encode(), "TS-YAML-SYNTAX", 7),
    "an escape character": (GOOD.replace("obtain", "\x1b[2J").encode(), "TS-YAML-SYNTAX", 7),
    "a page break": (GOOD.replace("adversaries", "\x0cadversaries").encode(), "TS-YAML-SYNTAX", 5),
    "an overlong NUL": (GOOD.encode().replace(b"obtain", b"\xc0\x80"), "TS-FILE-UNREADABLE", 7),
    "a gzip file": (b"\x1f\x8b\x08\x00" + bytes(range(256)), "TS-FILE-UNREADABLE", 1),
}


@pytest.mark.parametrize("case", BYTES)
def test_bytes_that_are_no_text_are_refused_at_their_line(tmp_path: Path, case: str) -> None:
    content, code, line = BYTES[case]
    found = refused(write(tmp_path, content))
    assert [(problem.code, problem.line) for problem in found] == [(code, line)]
    assert all(c.isprintable() or c == "\n" for c in str(found[0]).replace("\t", ""))


@pytest.mark.parametrize(
    "content",
    [
        GOOD.replace("\n", "\r\n").encode(),
        b"\xef\xbb\xbf" + GOOD.encode(),
        GOOD.replace("\n", "\r").encode(),
        GOOD.replace("\n", "   \n").encode(),
        GOOD.replace("against: small", "against:\tsmall").encode(),
        GOOD.encode() + b"# a comment\n" * 1000 + b"...\n",
    ],
    ids=["CRLF", "a byte order mark", "CR", "trailing blanks", "a tab between", "comments"],
)
def test_other_ways_to_end_lines_are_fine(tmp_path: Path, content: bytes) -> None:
    assert load_spec(write(tmp_path, content)).spec == load_spec(write(tmp_path, GOOD)).spec


def test_a_file_of_a_hundred_megabytes_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    with path.open("wb") as file:
        file.truncate(100_000_000)
    [problem] = refused(path)
    assert (problem.code, problem.line) == ("TS-FILE-UNREADABLE", 1)
    assert "larger" in problem.message


# structure

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(9)
)
STRUCTURE: dict[str, tuple[str, set[str]]] = {
    "brackets": ("a: " + "[" * 3000 + "]" * 3000, {"TS-YAML-SYNTAX"}),
    "open brackets": ("a: " + "[" * 3000, {"TS-YAML-SYNTAX"}),
    "braces": ("a: " + "{b: " * 3000 + "}" * 3000, {"TS-YAML-SYNTAX"}),
    "nested lists": ("".join("  " * n + "-\n" for n in range(500)), {"TS-YAML-SYNTAX"}),
    "an alias bomb": (BOMB, {"TS-YAML-ALIAS"}),
    "a loop": ("a: &a [*a]\n", {"TS-YAML-ALIAS"}),
    "a merge key": ("a: &a {b: 1}\nc: {<<: *a}\n", {"TS-YAML-ALIAS"}),
    "a complex key": ("? [a, b]\n: c\n", {"TS-WRONG-TYPE"}),
    "a mapping in itself": ("? ? ? a\n", {"TS-WRONG-TYPE"}),
    "a directive": ("%YAML 1.1\n---\n" + GOOD, set()),
    "a tag directive": ("%TAG ! tag:x,2000:\n---\n" + GOOD, {"TS-YAML-TAG"}),
    "two documents": (GOOD + "---\n" + GOOD, {"TS-YAML-SYNTAX"}),
}


@pytest.mark.parametrize("case", STRUCTURE)
def test_structure_that_the_language_does_not_have(tmp_path: Path, case: str) -> None:
    text, codes = STRUCTURE[case]
    path = write(tmp_path, text)
    if not codes:
        assert load_spec(path).spec.threatspec == 1
        return
    found = refused(path)
    assert codes <= {problem.code for problem in found}
    assert all(1 <= problem.line <= text.count("\n") + 1 for problem in found)


TAGS = [
    "!!python/object/apply:os.system [touch pwned]",
    "!!python/object/new:subprocess.Popen [[touch, pwned]]",
    "!!python/name:os.system",
    "!!python/module:os",
    "!!python/tuple [1]",
    "!<tag:yaml.org,2002:python/object/apply:os.system> [ls]",
    "!ENV ${HOME}",
    "!include /etc/passwd",
    "!!binary aGk=",
    "!!timestamp 2001-01-01",
]


@pytest.mark.parametrize("tag", TAGS)
def test_tags_are_refused_and_construct_nothing(tmp_path: Path, tag: str) -> None:
    found = refused(write(tmp_path, changed("obtain the procedures", tag)))
    assert ("TS-YAML-TAG", 7) in {(problem.code, problem.line) for problem in found}
    assert not (tmp_path / "pwned").exists()


# scalars and meaning

SCALARS: list[tuple[str, str, str]] = [
    ("confidence: 0.95", "confidence: 1e400", "TS-NON-FINITE"),
    ("confidence: 0.95", "confidence: .nan", "TS-NON-FINITE"),
    ("confidence: 0.95", "confidence: -.inf", "TS-NON-FINITE"),
    ("confidence: 0.95", "confidence: 95", "TS-OUT-OF-RANGE"),
    ("confidence: 0.95", "confidence: 0.5", "TS-OUT-OF-RANGE"),
    ("confidence: 0.95", "confidence: 0o17", "TS-WRONG-TYPE"),
    ("confidence: 0.95", "confidence: 017", "TS-WRONG-TYPE"),
    ("confidence: 0.95", "confidence: 0x1F", "TS-WRONG-TYPE"),
    ("confidence: 0.95", "confidence: 1:30:00", "TS-UNIT"),
    ("confidence: 0.95", "confidence: 1_000", "TS-UNIT"),
    ("confidence: 0.95", "confidence: 2001-01-01", "TS-UNIT"),
    ("confidence: 0.95", "confidence: yes", "TS-WRONG-TYPE"),
    ("confidence: 0.95", "confidence: true", "TS-UNIT"),
    ("confidence: 0.95", "confidence: " + "9" * 5000, "TS-NON-FINITE"),
    ("confidence: 0.95", "confidence: []", "TS-UNIT"),
    ("confidence: 0.95", "confidence: ٠.٩٥", "TS-UNIT"),
    ("confidence: 0.95", "confidence: !!float 0.95", "TS-YAML-TAG"),
    ("obtain the procedures", "yes", "TS-WRONG-TYPE"),
    ("goal: obtain the procedures", "goal: on", "TS-WRONG-TYPE"),
    ("obtain the procedures", "''", "TS-WRONG-TYPE"),
    ("obtain the procedures", "x" * 100_000, "TS-WRONG-TYPE"),
    ("threatspec: 1", "threatspec: 99", "TS-FORMAT-VERSION"),
    ("threatspec: 1", "threatspec: true", "TS-FORMAT-VERSION"),
    ("threatspec: 1", "threatspec: '1'", "TS-FORMAT-VERSION"),
    ("threatspec: 1", "threatspec: 1.0", "TS-FORMAT-VERSION"),
    ("asr <= 0.10", "asr <= 10", "TS-THRESHOLD-RANGE"),
    ("asr <= 0.10", "asr >= 0", "TS-THRESHOLD-RANGE"),
    ("asr <= 0.10", "\"__import__('os').system('touch pwned')\"", "TS-PREDICATE-SYNTAX"),
    ("asr <= 0.10", "asr.__class__ <= 1", "TS-PREDICATE-SYNTAX"),
    ("asr <= 0.10", "'(lambda: asr)() <= 1'", "TS-PREDICATE-SYNTAX"),
    ("asr <= 0.10", "asr <= 9**9**9", "TS-PREDICATE-SYNTAX"),
    ("asr <= 0.10", "asr <= 1e400", "TS-THRESHOLD-RANGE"),
    ("asr <= 0.10", f"asr <= {'(' * 240}0.1{')' * 240}", "TS-PREDICATE-SYNTAX"),
    ("asr <= 0.10", "asr <= 0.1 " + "+ 0.1 " * 2500, "TS-PREDICATE-SYNTAX"),
    ("asr <= 0.10", "asr <= 0.1 " + "+ 0.1 " * 9000, "TS-WRONG-TYPE"),
    ("asr <= 0.10", "asr <= ０.１", "TS-PREDICATE-SYNTAX"),
    ("id: stays-refused", "id: ../../etc/passwd", "TS-WRONG-TYPE"),
    ("id: stays-refused", "id: '{{ 7 * 7 }}'", "TS-WRONG-TYPE"),
]


@pytest.mark.parametrize(("old", "new", "code"), SCALARS, ids=lambda text: text[:30])
def test_values_are_refused_where_they_stand(tmp_path: Path, old: str, new: str, code: str) -> None:
    text = changed(old, new)
    found = refused(write(tmp_path, text))
    line = text[: text.index(new)].count("\n") + 1
    assert [(problem.code, problem.line) for problem in found] == [(code, line)], found
    assert len(str(found[0])) < 2000
    assert not (tmp_path / "pwned").exists()


def test_two_claims_of_one_id(tmp_path: Path) -> None:
    claim = GOOD[GOOD.index("  - id") :]
    [problem] = refused(write(tmp_path, GOOD + claim))
    assert (problem.code, problem.line, problem.column) == ("TS-DUPLICATE-ID", 16, 9)


def test_a_key_that_stands_twice(tmp_path: Path) -> None:
    [problem] = refused(write(tmp_path, changed("confidence", "holds: asr <= 1\n    confidence")
                              .replace("asr <= 1\n", "asr <= 0.5\n")))  # fmt: skip
    assert (problem.code, problem.line) == ("TS-YAML-DUPLICATE-KEY", 15)


# free text is only text

FREE = [
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "]]></a>&amp;&#x27;\" '",
    "\\input{/etc/passwd} $x_1$ 100% #1 ~ ^ & {} \\write18{ls}",
    "{{ config }} {% raw %} ${HOME} $(ls) `ls` %s %(x)s {0.__class__}",
    "[red]markup[/red] [link=http://example.org]x[/link]",
    "\u202ereversed\u202c and \u200bzero width",
    "=cmd|' /C calc'!A0",
    "../../../etc/passwd",
    "'; DROP TABLE rows; --",
]


@pytest.mark.parametrize("text", FREE)
def test_metacharacters_in_free_text_are_kept_as_they_are(tmp_path: Path, text: str) -> None:
    quoted = "'" + text.replace("'", "''") + "'"
    spec = load_spec(write(tmp_path, changed("Requests stay refused.", quoted))).spec
    assert spec.claims[0].says == text
    assert all(character.isprintable() for character in visible(text))


@pytest.mark.parametrize("escape", [r"\e[2J\e]0;title\a", r"\0", r"\x9b31m", r"\u2028", r"\uD800"])
def test_escapes_of_a_quoted_text_cannot_drive_a_terminal(tmp_path: Path, escape: str) -> None:
    path = write(tmp_path, changed("Requests stay refused.", f'"a {escape} b"'))
    if escape == r"\uD800":
        assert [problem.line for problem in refused(path)] == [12]
        return
    said = load_spec(path).spec.claims[0].says
    assert all(c.isprintable() or c == "\n" for c in visible(said))


def test_control_characters_do_not_reach_the_terminal_through_a_message(tmp_path: Path) -> None:
    found = refused(write(tmp_path, changed("against: small", r'against: "\e[31msmall\a"')))
    assert all("\x1b" not in str(problem) and "\a" not in str(problem) for problem in found)
