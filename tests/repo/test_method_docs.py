"""Pages on training, searches and surgery name what there is, and their examples are valid."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import get_args

import pytest

from tests.support.specs import spec_data
from threatspec import api
from threatspec.attacks import ATTACKS
from threatspec.attacks._space import Searched
from threatspec.attacks._surgery import Surgery, SurgeryConfig
from threatspec.loading._yaml import read_document
from threatspec.records import Search
from threatspec.schema import Use
from threatspec.subjects import Offer
from threatspec.training import ADAPTERS, TRAINERS, Hyperparameters
from threatspec.training.regions import EDITS, SCORES

DOCS = Path(__file__).parents[2] / "docs"
PAGES = {
    name: (DOCS / f"{name}.md").read_text("utf-8") for name in ("training", "search", "surgery")
}
EXAMPLES = {
    name: re.findall(r"^```yaml\n(adversaries:\n.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    for name, page in PAGES.items()
}


def table(page: str, first: str) -> dict[str, list[str]]:
    """Cells of the table whose first column is called so, by that column."""
    lines = PAGES[page].partition(f"\n| {first} |")[2].partition("\n\n")[0].splitlines()[2:]
    rows = (re.split(r"(?<!\\) ?\| ?", line)[1:-1] for line in lines)
    return {
        cells[0].strip("`"): [c.strip().replace("\\|", "|") for c in cells[1:]] for cells in rows
    }


def code(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def test_every_trainer_is_listed_with_what_it_is() -> None:
    assert {
        name: says.replace("`", "") for name, (says,) in table("training", "trainer").items()
    } == {name: trainer.says for name, trainer in TRAINERS}


def test_every_adapter_is_listed_with_its_knobs() -> None:
    listed = {
        name: (says, code(knobs)) for name, (says, knobs) in table("training", "method").items()
    }
    assert listed == {name: (m.says, list(m.knobs)) for name, m in ADAPTERS.items()}
    apart = [name for name, method in ADAPTERS.items() if not method.mergeable]
    assert apart == list(ADAPTERS)[-len(apart) :]
    assert len(apart) == 5  # as the text says


def test_every_value_of_a_setting_is_listed() -> None:
    for name, (values,) in table("training", "setting").items():
        assert code(values) == list(get_args(Hyperparameters.model_fields[name].annotation)), name


def test_every_score_and_edit_is_listed() -> None:
    assert {name: cells[0] for name, cells in table("surgery", "score").items()} == {
        name: method.says for name, method in SCORES.items()
    }
    edits = table("surgery", "edit")
    assert {name: cells[0] for name, cells in edits.items()} == {
        name: method.says for name, method in EDITS.items()
    }
    named = {kind for _, kinds in edits.values() for kind in code(kinds)}
    assert named == {kind for kind, attack in ATTACKS if isinstance(attack, Surgery)}


@pytest.mark.parametrize("kind", [kind for kind, attack in ATTACKS if isinstance(attack, Surgery)])
def test_an_attack_stands_beside_the_edit_that_it_asks_for(kind: str) -> None:
    config = ATTACKS.get(kind).Config()
    assert isinstance(config, SurgeryConfig)
    assert kind in code(table("surgery", "edit")[config.method()][1])


def test_every_rule_of_a_search_is_listed() -> None:
    rules = [name.partition("`")[0] for name in table("search", "`search:`")]
    assert rules == list(get_args(Search.model_fields["rule"].annotation))
    assert set(rules) <= set(get_args(get_args(Use.model_fields["search"].annotation)[0]))


@pytest.mark.parametrize("page", EXAMPLES)
def test_an_example_is_valid(page: str, tmp_path: Path) -> None:
    [text] = EXAMPLES[page]
    (tmp_path / "adversaries.yaml").write_text(text, encoding="utf-8")
    adversaries = read_document(tmp_path / "adversaries.yaml").data["adversaries"]
    data = spec_data({"adversaries": adversaries, "claims.0.against": next(iter(adversaries))})
    (tmp_path / "x.yaml").write_text(json.dumps(data), encoding="utf-8")
    api.check(tmp_path / "x.yaml")


def ranges() -> set[tuple[str, str, frozenset[str]]]:
    """Knob, range in words and the kinds that have it."""
    kinds: dict[tuple[str, Searched], set[str]] = {}
    for kind, attack in ATTACKS:
        for knob, field in attack.Config.model_fields.items():
            for found in (m for m in field.metadata if isinstance(m, Searched)):
                kinds.setdefault((knob, found), set()).add(kind)
    return {(knob, in_words(found), frozenset(own)) for (knob, found), own in kinds.items()}


def in_words(found: Searched) -> str:
    if found.choices:
        return ", ".join(f"`{choice}`" for choice in found.choices)
    tail = ", evenly in the logarithm" if found.log else ""
    return f"{found.low:g} to {found.high:g}{tail}"


def test_every_range_of_a_search_is_listed() -> None:
    lines = PAGES["search"].partition("\n| knob |")[2].partition("\n\n")[0].splitlines()[2:]
    training = {kind for kind, a in ATTACKS if a.uses_rows and Offer.CLASSES not in a.offers}
    every = training - {"hosted-finetune"}
    listed = set()
    for line in lines:
        knob, values, kinds = (cell.strip() for cell in line.strip("|").split("|"))
        own = every if kinds.startswith("all that train") else set(code(kinds))
        listed.add((knob.strip("`"), values, frozenset(own)))
    assert listed == ranges()
