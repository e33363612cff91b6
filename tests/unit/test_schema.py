"""The JSON Schema of the language: true to the program, valid draft 7, and of use in an editor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from tests.repo.test_language_doc import EXAMPLES
from tests.support.specs import ABSENT, Changes, spec_data
from threatspec.api import check, load
from threatspec.attacks import ATTACKS
from threatspec.campaign import attack_cards
from threatspec.cli import main
from threatspec.cli._schema import schema_text
from threatspec.errors import SpecErrors
from threatspec.loading._yaml import read_document
from threatspec.schema import PRESETS, Spec, field_docs

ROOT = Path(__file__).parents[2]
FILE = ROOT / "schema" / "threatspec.schema.json"
SCHEMA: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))


def errors(data: Any) -> list[str]:
    return [error.message for error in Draft7Validator(SCHEMA).iter_errors(data)]


def test_the_committed_file_is_what_the_program_writes() -> None:
    assert FILE.read_text(encoding="utf-8") == schema_text(), (
        "run: threatspec schema -o schema/threatspec.schema.json"
    )


def test_it_is_a_schema_of_draft_7() -> None:
    Draft7Validator.check_schema(SCHEMA)
    text = json.dumps(SCHEMA)
    for later in ("$defs", "prefixItems", "unevaluatedProperties", '"ge"', '"gt"', '"le"', '"lt"'):
        assert later not in text, later


@pytest.mark.parametrize("path", sorted((ROOT / "claims").glob("*.yaml")), ids=lambda p: p.name)
def test_published_claims_are_valid_and_name_it(path: Path) -> None:
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    assert first == "# yaml-language-server: $schema=../schema/threatspec.schema.json"
    assert errors(read_document(path).data) == []


@pytest.mark.parametrize("text", EXAMPLES)
def test_examples_of_the_manual_are_valid(text: str, tmp_path: Path) -> None:
    (tmp_path / "example.yaml").write_text(text, encoding="utf-8")
    assert errors(read_document(tmp_path / "example.yaml").data) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"measures.asr.judge": {"use": "keywords", "any_of": ["brindle"]}},
        {"adversaries.tuner.attacks": ["lora-finetune"]},
        {"adversaries.tuner.attacks": [{"use": "full-finetune", "lr": 3e-5, "steps": "10 steps"}]},
        {"adversaries.tuner.attacks": [{"use": "full-finetune", "lr": [3e-5, 1e-4], "steps": 9}]},
        {"adversaries.tuner.access": ["weights_write"]},
        {"adversaries.tuner.compute": {"steps": "30 steps", "flops": "1 TFLOP"}},
        {"claims.0.expect": "REFUTED"},
        {"claims.0.expect": {"verdict": "REFUTED", "because": "It breaks."}},
        {"claims.0.confidence": "95 %"},
        {"claims.0.subject": "subject"},
        {"claims.0.subject": ["subject"]},
        {"subject": ABSENT, "subjects": {"a": {"model": "specimen:deep"}}},
    ],
    ids=str,
)
def test_short_and_long_forms_are_valid_in_both(changes: Changes, tmp_path: Path) -> None:
    data = spec_data(changes)
    assert errors(data) == []
    (tmp_path / "x.yaml").write_text(json.dumps(data), encoding="utf-8")
    load(tmp_path / "x.yaml")


@pytest.mark.parametrize(
    "changes",
    [
        {"claims": ABSENT},
        {"claims": []},
        {"claims.0.hold": "asr <= 0.1"},
        {"claims.0.holds": 0.1},
        {"claims.0.id": "Not a name"},
        {"claims.0.confidence": 2},
        {"claims.0.expect": "PASSED"},
        {"claims.0.seeds": {"replicates": 0}},
        {"measures.asr": {"benchmark": "specimen/restricted"}},
        {"measures.asr.split": "train"},
        {"measures": {"a b": {"benchmark": "specimen/restricted", "judge": "exact"}}},
        {"adversaries.tuner.access": "everything"},
        {"adversaries.tuner.access": ["root"]},
        {"adversaries.tuner.data": {"poison": {"n": 1, "from": "specimen/benign#test"}}},
        {"adversaries.tuner.compute": {"steps": "many"}},
        {"adversaries.tuner.attacks": [{"lr": 1}]},
        {"adversaries.tuner.attacks": [{"use": "full-finetune", "lr": 30}]},
        {"subjects": {"a": {"model": "specimen:deep"}}},
        {"subject": ABSENT},
        {"threatspec": 3},
    ],
    ids=str,
)
def test_what_is_wrong_is_wrong_in_both(changes: Changes, tmp_path: Path) -> None:
    data = spec_data(changes)
    assert errors(data)
    (tmp_path / "x.yaml").write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(SpecErrors):
        check(tmp_path / "x.yaml")


def test_parts_of_a_spec_may_be_incomplete() -> None:
    assert errors({"threatspec": 1, "extends": "base.yaml", "claims": [{"id": "a"}]}) == []
    assert errors({"threatspec": 1, "extends": "base.yaml", "claim": []})
    assert errors({"threatspec": 1, "include": ["measures.yaml"]}) == []


def test_every_field_says_what_it_is() -> None:
    spec = SCHEMA["definitions"]["Spec"]
    assert set(spec["properties"]) == {i.alias or n for n, i in Spec.model_fields.items()}
    for name, model in {"Spec": spec, **SCHEMA["definitions"]}.items():
        for field, node in model.get("properties", {}).items():
            inner = [node, *(SCHEMA["definitions"][part["$ref"].rpartition("/")[2]]
                             for part in node.get("allOf", [node]) if "$ref" in part)]  # fmt: skip
            assert any(part.get("description") for part in inner), f"{name}.{field}"


def test_names_and_knobs_are_offered() -> None:
    use = SCHEMA["definitions"]["Use"]
    assert set(use["properties"]["use"]["anyOf"][0]["enum"]) >= set(ATTACKS.names())
    assert use["additionalProperties"] is True
    offered = {n: e["then"]["properties"] for e in SCHEMA["definitions"]["AttackKnobs"]["allOf"]
               for n in e["if"]["properties"]["use"]["enum"]}  # fmt: skip
    assert set(offered) >= {kind for kind, attack in ATTACKS if attack.Config.model_fields}
    cards = attack_cards()
    for name, knobs in offered.items():
        docs = field_docs(ATTACKS.get(cards[name].attack if name in cards else name).Config)
        assert {name: knob["description"] for name, knob in knobs.items()} == docs
    measure = SCHEMA["definitions"]["Measure"]["properties"]["benchmark"]["anyOf"]
    assert "specimen/restricted" in measure[0]["enum"]
    assert any("file:" in option.get("pattern", "") for option in measure)
    model = SCHEMA["definitions"]["Subject"]["properties"]["model"]["anyOf"]
    assert "specimen:deep" in model[0]["enum"]
    presets = SCHEMA["definitions"]["Adversary"]["properties"]["access"]["anyOf"][0]["enum"]
    assert presets == list(PRESETS)


@pytest.mark.parametrize(
    ("entry", "valid"),
    [
        ({"chain": [{"use": "lora-finetune", "steps": 4}, "prefill"]}, True),
        ({"chain": ["lora-finetune", {"use": "serving-exploit", "systems": [None, "a"]}]}, True),
        ({"chain": [{"use": "lora-finetune", "steps": "many"}, "prefill"]}, False),
        ({"chain": ["prefill"]}, False),
        ({"rows": "benign"}, False),
    ],
    ids=str,
)
def test_chains_are_entries_and_their_knobs_are_known(entry: dict[str, Any], valid: bool) -> None:
    found = errors(spec_data({"adversaries.tuner.attacks": [entry]}))
    assert (found == []) is valid


def test_a_stale_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "deep" / "own.json"
    for arguments, code in ((["--check", "-o"], 2), (["-o"], 0), (["--check", "-o"], 0)):
        with pytest.raises(SystemExit) as ended:
            main(["schema", *arguments, str(file)])
        assert ended.value.code == code
    assert "TS-SCHEMA-STALE" in capsys.readouterr().err
