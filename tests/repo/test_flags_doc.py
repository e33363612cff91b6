"""The table of `docs/flags.md` is what flags do to verdicts."""

from __future__ import annotations

import re
from pathlib import Path

from threatspec.claims import FLAGS

DOC = (Path(__file__).parents[2] / "docs" / "flags.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `([a-z-]+)` \| (.+) \| ([a-z ]+) \| (.+) \|$", flags=re.MULTILINE)


def test_every_flag_stands_in_the_table_with_its_effect() -> None:
    found = {name: effect for name, _, effect, _ in ROW.findall(DOC)}
    assert found == {name: effect.value for name, effect in FLAGS.items()}
    assert list(found) == list(FLAGS)
    assert len(ROW.findall(DOC)) == len(FLAGS)


def test_every_effect_is_explained() -> None:
    for effect in {effect.value for effect in FLAGS.values()}:
        assert f"- **{effect}**: " in DOC


def test_every_flag_says_what_to_do() -> None:
    for name, when, _, remedy in ROW.findall(DOC):
        assert len(when) > 40, name
        assert remedy.endswith("."), name
