"""`docs/plugins.md` shows the extension package as it is, and what there is to derive from."""

from __future__ import annotations

import re
from importlib import import_module

import pytest

from tests.support.wheels import ROOT
from threatspec import testing
from threatspec.attacks import ATTACKS
from threatspec.attacks.recipes import RECIPES
from threatspec.instruments import INSTRUMENTS
from threatspec.measures import BENCHMARKS, JUDGES
from threatspec.safeguards import SAFEGUARDS
from threatspec.training import TRAINERS

PACKAGE = ROOT / "tests" / "extension_package"
DOC = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"^```[a-z]+\n# (\S+)\n(.*?)^```$", DOC, flags=re.MULTILINE | re.DOTALL))
FILES = {
    path.relative_to(PACKAGE).as_posix()
    for path in PACKAGE.rglob("*")
    if path.suffix in {".py", ".toml", ".yaml"} and path.name != "__init__.py"
}


def test_every_file_of_the_package_is_shown() -> None:
    assert set(BLOCKS) == FILES


@pytest.mark.parametrize("file", sorted(FILES))
def test_a_file_is_shown_as_it_is(file: str) -> None:
    assert BLOCKS[file].strip() == (PACKAGE / file).read_text(encoding="utf-8").strip()


def test_the_table_of_groups_is_that_of_the_registries() -> None:
    listed = re.findall(r"^\| `(threatspec\.\w+)` \| `([\w.]+)\.(\w+)` \|", DOC, flags=re.MULTILINE)
    found = {group: getattr(import_module(room), name) for group, room, name in listed}
    registries = (ATTACKS, RECIPES, TRAINERS, BENCHMARKS, JUDGES, INSTRUMENTS, SAFEGUARDS)
    assert found == {registry._group: registry._base for registry in registries}


def test_the_table_of_suites_names_what_they_can_be_told() -> None:
    rows = re.findall(r"^\| `(\w+Conformance)` \| ([^|]+) \|", DOC, flags=re.MULTILINE)
    assert {name for name, _ in rows} == set(testing.__all__)
    for name, told in rows:
        known = getattr(testing, name).__annotations__
        assert set(re.findall(r"`(\w+)`", told)) <= set(known), name
