"""`docs/language.md` has every field of the language, and its examples are valid."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import create_model

from threatspec import api, schema
from threatspec.attacks import ATTACKS, Attack
from threatspec.attacks._surgery import Surgery
from threatspec.measures import Item
from threatspec.runners import LocalProfile, RayProfile

DOC = (Path(__file__).parents[2] / "docs" / "language.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^#+ (.+)$\n((?:(?!^#+ ).*\n)*)", DOC, flags=re.MULTILINE))


def _beside(model: type[schema.Model], known: type[schema.Model]) -> type[schema.Model]:
    """The fields that `model` has beyond those of `known`."""
    own = {
        n: (f.annotation, f) for n, f in model.model_fields.items() if n not in known.model_fields
    }
    return create_model("Beside", __base__=schema.Model, **own)


def _tunes(attack: Attack) -> bool:
    both = {schema.Capability.FINETUNE_DATA, schema.Capability.FINETUNE_HYPERPARAMETERS}
    return both in attack.needs


FIELDS: dict[str, type[schema.Model]] = {
    "The file": schema.Spec,
    "Subject": schema.Subject,
    "Adapt": schema.AdaptStep,
    "Merge": schema.MergeStep,
    "Safeguards": schema.SafeguardUse,
    "Safeguard budget": schema.SafeguardBudget,
    "Measure": schema.Measure,
    "Calibration": schema.Calibration,
    "Serving": schema.Serving,
    "Adversary": schema.Adversary,
    "Knowledge": schema.Knowledge,
    "Data": schema.DataSource,
    "Compute": schema.Compute,
    "Owns": schema.Owns,
    "Limits": schema.Limits,
    "Attacks": schema.Use,
    "Claim": schema.Claim,
    "Seeds": schema.Seeds,
    "Expect": schema.Expectation,
    "Scope": schema.ClaimScope,
    "Waivers": schema.Waiver,
    "Protects": schema.Protects,
    "Governance": schema.Governance,
    "File benchmarks": Item,
    "Attack cards": schema.AttackCard,
    "Descriptions": schema.DescriptionCard,
    "Runner profiles": LocalProfile,
    "Ray profiles": _beside(RayProfile, LocalProfile),
}
NOT_EVALUATED: dict[str, type[schema.Model]] = {
    "measure": schema.Measure,
    "owns": schema.Owns,
    "limits": schema.Limits,
    "compute": schema.Compute,
    "attacks": schema.Use,
    "claim": schema.Claim,
}
GROUPS: dict[str, set[str]] = {
    "fine-tuning": {kind for kind, attack in ATTACKS if _tunes(attack)},
    "surgery": {kind for kind, attack in ATTACKS if isinstance(attack, Surgery)},
}
"""What the manual calls several kinds of attack."""
EXAMPLES = [
    text
    for text in re.findall(r"^```yaml\n(.*?)^```", DOC, flags=re.MULTILINE | re.DOTALL)
    if text.startswith("threatspec: 1")
]


def rows(heading: str, first: str) -> dict[str, list[str]]:
    """Cells of the table in a section whose first column is called `first`, by that column."""
    table = SECTIONS[heading].partition(f"\n| {first} |")[2].partition("\n\n")[0]
    lines = (line.strip("|").split(" | ") for line in table.splitlines()[2:])
    return {cells[0].strip(" `"): [cell.strip() for cell in cells[1:]] for cells in lines}


def fields(heading: str) -> dict[str, list[str]]:
    return rows(heading, "field of a line" if heading == "File benchmarks" else "field")


def code(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


@pytest.mark.parametrize("heading", FIELDS)
def test_a_table_has_the_fields_of_its_model_in_order(heading: str) -> None:
    known = [info.alias or name for name, info in FIELDS[heading].model_fields.items()]
    assert list(fields(heading)) == known or heading == "File benchmarks"
    assert set(fields(heading)) == set(known)


@pytest.mark.parametrize("heading", [name for name in FIELDS if name != "Attack cards"])
def test_a_table_says_which_fields_are_required_and_what_the_others_default_to(
    heading: str,
) -> None:
    for name, info in FIELDS[heading].model_fields.items():
        default = fields(heading)[info.alias or name][1]
        # The cluster of a line is its id, which the reader of the file fills in.
        required = info.is_required() and (heading, name) != ("File benchmarks", "cluster")
        assert (default == "required") == required, name
        if isinstance(info.default, (int, float, str)) and info.default and name != "format":
            assert default.strip("`").lower() == str(info.default).lower(), name


def test_every_field_that_is_not_evaluated_is_listed() -> None:
    listed = {where: set(code(cells[0])) for where, cells in rows("Not evaluated", "where").items()}
    assert listed == {where: set(model.not_evaluated) for where, model in NOT_EVALUATED.items()}


def test_every_capability_is_listed() -> None:
    assert list(rows("Access", "capability")) == [name.value for name in schema.Capability]


def test_the_attacks_of_a_capability_are_those_that_need_it() -> None:
    for name, (used,) in rows("Access", "capability").items():
        needing = {kind for kind, a in ATTACKS if any(name in need for need in a.needs)}
        says = {kind for group, kinds in GROUPS.items() if group in used for kind in kinds}
        assert says | (set(code(used)) & {kind for kind, _ in ATTACKS}) == needing, name


def test_fine_tuning_means_the_kinds_that_are_named() -> None:
    line = next(line for line in SECTIONS["Access"].splitlines() if line.startswith("Fine-tuning"))
    assert set(code(line)) == GROUPS["fine-tuning"]


def test_every_preset_is_listed_with_its_capabilities() -> None:
    listed = {name: set(code(cells[0])) for name, cells in rows("Access", "preset").items()}
    assert listed == {name: {c.value for c in access} for name, access in schema.PRESETS.items()}


def test_every_attack_is_listed() -> None:
    assert set(rows("Attacks", "kind")) == set(ATTACKS.names())


@pytest.mark.parametrize("text", EXAMPLES)
def test_an_example_is_valid(text: str, tmp_path: Path) -> None:
    path = tmp_path / "example.yaml"
    path.write_text(text, encoding="utf-8")
    api.check(path)


def test_there_are_examples() -> None:
    assert EXAMPLES
