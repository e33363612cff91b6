"""Every error code is documented, in the order of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from threatspec.errors import CODES

DOCS = Path(__file__).parents[2] / "docs" / "errors.md"
SECTIONS = re.split(r"^## ", DOCS.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]


def test_the_headings_are_the_codes() -> None:
    assert [section.split("\n", 1)[0] for section in SECTIONS] == list(CODES)


@pytest.mark.parametrize("section", SECTIONS, ids=lambda s: s.split("\n", 1)[0])
def test_a_section_has_a_meaning_an_example_with_its_code_and_a_remedy(section: str) -> None:
    code, body = section.split("\n", 1)
    meaning, example, remedy = (part.strip() for part in re.split(r"^```.*$", body, flags=re.M))
    assert meaning.endswith(".")
    assert f"[{code}]" in example
    assert remedy.endswith(".")
