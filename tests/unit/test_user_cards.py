"""Cards of a workspace: beside the claims, under names of their own, wrong at their own place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.support.specs import spec_data
from threatspec.attacks import ATTACKS
from threatspec.campaign import attack_cards, check_spec, compile_plan
from threatspec.cli import cli
from threatspec.errors import SpecErrors
from threatspec.loading import find_workspace, load_spec
from threatspec.resources import shipped

CARD: dict[str, Any] = {
    "schema": "threatspec/attack-card/v1",
    "name": "slow-finetune",
    "attack": "full-finetune",
    "says": "Trains all weights slowly.",
    "source": {"work": "own", "section": "tests", "provenance": "own"},
    "config": {"lr": 1e-5, "steps": 7},
}


def write_card(workspace: Path, *, file: str = "", **changes: Any) -> Path:
    card = {key: value for key, value in {**CARD, **changes}.items() if value is not None}
    path = workspace / "attacks" / (file or f"{card['name']}.yaml")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(card), encoding="utf-8")
    return path


def write_spec(workspace: Path, attacks: list[Any] | None) -> Path:
    path = workspace / "claims" / "deep" / "x.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    data = spec_data({"adversaries.tuner.attacks": attacks} if attacks else None)
    if attacks is None:
        del data["adversaries"]["tuner"]["attacks"]
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def codes(workspace: Path) -> list[str]:
    with pytest.raises(SpecErrors) as caught:
        attack_cards(workspace)
    return [problem.code for problem in caught.value.problems]


def test_a_card_beside_the_claims_can_be_used_and_changed(tmp_path: Path) -> None:
    write_card(tmp_path)
    path = write_spec(tmp_path, ["slow-finetune", {"use": "slow-finetune", "steps": 9}])
    plan = compile_plan(load_spec(path))
    found = {p.name: (p.card, p.config["lr"], p.config["steps"]) for p in plan.procedures.values()}
    assert found == {
        "slow-finetune": ("slow-finetune", 1e-5, 7),
        "slow-finetune steps=9": ("slow-finetune", 1e-5, 9),
    }


def test_an_adversary_that_names_no_attacks_makes_a_card_that_says_auto(tmp_path: Path) -> None:
    write_card(tmp_path, auto=True)
    write_card(tmp_path, name="slower-finetune")
    plan = compile_plan(load_spec(write_spec(tmp_path, None)))
    names = {procedure.name for procedure in plan.procedures.values()}
    assert "slow-finetune" in names
    assert "slower-finetune" not in names
    assert "full-finetune" in names


def test_cards_elsewhere_are_not_seen(tmp_path: Path) -> None:
    write_card(tmp_path / "elsewhere")
    with pytest.raises(SpecErrors) as caught:
        check_spec(load_spec(write_spec(tmp_path, ["slow-finetune"])))
    assert caught.value.code == "TS-UNKNOWN-ATTACK"


def test_a_shipped_name_is_for_a_copy_only(tmp_path: Path) -> None:
    for path in shipped("attacks").glob("*.yaml"):
        (tmp_path / "attacks").mkdir(exist_ok=True)
        (tmp_path / "attacks" / path.name).write_bytes(path.read_bytes() + b"# a comment\n")
    assert attack_cards(tmp_path) == attack_cards()
    write_card(tmp_path, name="prefill", attack="prefill", config={"k": 6})
    assert codes(tmp_path) == ["TS-CARD"]


@pytest.mark.parametrize(
    ("changes", "code", "path"),
    [
        ({"attack": "full-fintune"}, "TS-UNKNOWN-ATTACK", "attack"),
        ({"config": {"steps": 1}}, "TS-MISSING-FIELD", "config.lr"),
        ({"config": {"lr": 20.0, "steps": 1}}, "TS-OUT-OF-RANGE", "config.lr"),
        ({"config": {"lr": 0.1, "steps": 1, "moment": 1}}, "TS-UNKNOWN-FIELD", "config.moment"),
        ({"says": None}, "TS-MISSING-FIELD", "says"),
        ({"schema": "threatspec/attack-card/v2"}, "TS-WRONG-TYPE", "schema"),
        ({"file": "other.yaml"}, "TS-CARD", "name"),
    ],
)
def test_a_wrong_card_is_reported_in_its_own_file(
    tmp_path: Path, changes: dict[str, Any], code: str, path: str
) -> None:
    card = write_card(tmp_path, **changes)
    with pytest.raises(SpecErrors) as caught:
        check_spec(load_spec(write_spec(tmp_path, [{"use": "full-finetune", "lr": 1e-4}])))
    [problem] = caught.value.problems
    assert (problem.code, problem.path, problem.file) == (code, path, str(card))


@pytest.mark.parametrize(
    "text",
    ["a: 1\n", "- not\n- a card\n", "defaults: [a, *b]\n", "", "\tx", "schema: other/v1\n"],
)
def test_yaml_of_other_programs_in_a_folder_called_attacks_is_left_alone(
    tmp_path: Path, text: str
) -> None:
    write_card(tmp_path)
    (tmp_path / "attacks" / "other.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "attacks" / "__init__.py").write_text("", encoding="utf-8")
    (tmp_path / "attacks" / "folder.yaml").mkdir()
    assert set(attack_cards(tmp_path)) == {*attack_cards(), "slow-finetune"}


def test_the_workspace_is_the_nearest_one(tmp_path: Path) -> None:
    inner = tmp_path / "claims" / "deep"
    inner.mkdir(parents=True)
    assert find_workspace(inner / "x.yaml") == tmp_path
    assert find_workspace(tmp_path) == tmp_path
    (tmp_path / "lone").mkdir()
    assert find_workspace(tmp_path / "lone" / "x.yaml") == tmp_path / "lone"


def test_list_and_explain_look_around_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_card(tmp_path)
    (tmp_path / "claims").mkdir()
    monkeypatch.chdir(tmp_path / "claims")
    listed = CliRunner().invoke(cli, ["list", "attacks"], standalone_mode=False)
    assert "Trains all weights slowly." in listed.output
    said = CliRunner().invoke(cli, ["explain", "slow-finetune"], standalone_mode=False)
    assert "steps = 7" in said.output


def test_a_card_may_be_for_a_kind_with_a_prefix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ATTACKS._items, "acme/finetune", ATTACKS.get("full-finetune"))
    write_card(tmp_path, attack="acme/finetune")
    assert attack_cards(tmp_path)["slow-finetune"].attack == "acme/finetune"
