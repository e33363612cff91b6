"""`threatspec check`: claims whose design breaks a rule end with 7; what answers it is noted."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.conftest import Said
from tests.support.specs import ABSENT, spec_data
from threatspec.claims import RULES
from threatspec.cli._fields import language_fields

Verb = Callable[..., Said]
ROOT = Path(__file__).parents[2]
CASES = ROOT / "claims" / "cases"
SCOPE = {
    "replicates": 2,
    "safeguard": "checkpoint",
    "trainer": ["resident"],
    "search": "listed",
    "families": ["full-finetune"],
    "data": "listed",
    "templates": ["native"],
    "utility": ["utility"],
}
NARROW: dict[str, Any] = {
    "claims.0.scope": SCOPE,
    "claims.0.provided": "utility >= 0.5",
    "claims.0.counts_if": "utility >= 0.5",
}
"""A claim that says how narrow it is."""
BROKEN = re.compile(r"^(?P<file>.*?):(\d+):(\d+): claim (?P<id>\S+) breaks (?P<rule>TS-R\w+): "
                    r"(?P<says>.*); (?P<remedy>.*) \[(?P<code>TS-R\w+)\]$")  # fmt: skip


def spec(folder: Path, changes: dict[str, Any] | None = None, name: str = "x.yaml") -> Path:
    both = {**NARROW, **(changes or {})}
    kept = {place: v for place, v in both.items() if v is not ABSENT}
    path = folder / name
    path.write_text(json.dumps(spec_data(kept), indent=1))
    return path


def broken(said: Said) -> list[dict[str, str]]:
    found = (BROKEN.match(line) for line in said.err.splitlines())
    return [match.groupdict() for match in found if match]


def waiver(rule: str, expires: str) -> list[dict[str, str]]:
    return [{"rule": rule, "owner": "me", "reason": "No time.", "expires": expires}]


@pytest.mark.parametrize("name", ["repnoise", "tar"])
def test_how_two_safeguards_were_evaluated_is_refused(verb: Verb, name: str) -> None:
    said = verb("check", CASES / f"{name}-original.yaml")
    assert said.code == 7
    assert "no problem found" not in said.out
    lines = broken(said)
    assert {line["file"] for line in lines} == {str(CASES / f"{name}-original.yaml")}
    for found in {line["id"] for line in lines}:
        rules = {line["rule"] for line in lines if line["id"] == found}
        wanted = {"TS-R0c", "TS-R1", "TS-R2", "TS-R4", "TS-R5b", "TS-R6", "TS-R8"}
        assert rules >= wanted | ({"TS-R3", "TS-R5"} if name == "tar" else {"TS-R3b", "TS-R3c"})
    for line in lines:
        assert line["rule"] == line["code"]
        assert line["says"]
        assert line["remedy"].casefold() == RULES[line["rule"]].remedy.casefold().rstrip(".")


def test_each_published_defect_is_said(verb: Verb) -> None:
    repnoise = verb("check", CASES / "repnoise-original.yaml").err
    for words in (
        "1 replicate planned of at least 5 and one order of rows (shuffle: false) in 3 of 3",
        "3 of 3 training configurations are trained by one back-end (repnoise-loop)",
        "every attack trains on the safeguard's own rows",
        "only `none` is used",
        "no measure of utility is read both before the attack and after it",
        "no control is declared",
        "the judge beavertails-classifier of harm can err",
        "speaks of a capability ('removed')",
    ):
        assert words in repnoise, words
    tar = verb("check", CASES / "tar-original.yaml").err
    assert "it is about the mean over attacks" in tar
    assert "`says` claims more than can be tested: 'cannot'" in tar


@pytest.mark.parametrize("name", ["repnoise", "tar"])
def test_the_repaired_designs_pass_and_say_what_they_are_limited_to(verb: Verb, name: str) -> None:
    said = verb("check", CASES / f"{name}-repaired.yaml")
    assert said.code == 0
    assert said.out == "1 file checked: no problem found\n"
    assert "is scoped: scope.safeguard: checkpoint (TS-R1b), scope.data: listed" in said.err
    assert not broken(said)


@pytest.mark.parametrize("name", ["repnoise-repaired", "tar-repaired", "tar-original"])
def test_cases_are_not_planned(verb: Verb, name: str) -> None:
    said = verb("plan", CASES / f"{name}.yaml")
    assert said.code == 2
    assert "[TS-DESCRIBED-ONLY]" in said.err


@pytest.mark.parametrize("name", ["quickstart", "smollm2-persona"])
def test_the_claims_that_ship_pass(verb: Verb, name: str) -> None:
    said = verb("check", ROOT / "claims" / f"{name}.yaml")
    assert said.code == 0
    assert not broken(said)


def test_a_narrow_claim_passes_and_is_noted(folder: Path, verb: Verb) -> None:
    said = verb("check", spec(folder))
    assert said.code == 0
    [note] = said.err.splitlines()
    place, _, text = note.partition(": note: claim holds is scoped: ")
    assert re.fullmatch(r".*x\.yaml:\d+", place)
    for field in SCOPE:
        assert f"scope.{field}: " in text


@pytest.mark.parametrize("field", SCOPE)
def test_a_limit_that_is_not_said_is_a_broken_rule(folder: Path, verb: Verb, field: str) -> None:
    scope = {name: value for name, value in SCOPE.items() if name != field}
    said = verb("check", spec(folder, {"claims.0.scope": scope}))
    assert said.code == 7
    rules = {line["rule"] for line in broken(said)}
    assert {RULES[rule].scoped_by for rule in rules} == {field}
    assert said.err.splitlines()[-1].startswith("1 claim could not get the verdict that passes")
    assert said.out == ""


def test_broken_rules_stand_at_the_id_of_their_claim(folder: Path, verb: Verb) -> None:
    path = spec(folder, {"claims.0.scope": ABSENT})
    lines = path.read_text().splitlines()
    said = verb("check", path)
    for line in said.err.splitlines()[:-2]:
        _, row, column, *_ = line.split(":")
        assert lines[int(row) - 1][int(column) - 1 :].startswith('"holds"')


@pytest.mark.parametrize("said", [ABSENT, {"families": SCOPE["families"], "replicates": 2}])
def test_a_scope_is_offered_under_which_nothing_is_open(
    folder: Path, verb: Verb, said: Any
) -> None:
    """It repeats what a scope says already: it stands in its place."""
    path = spec(folder, {"claims.0.scope": said})
    offer = verb("check", path).err.splitlines()[-2]
    assert offer.startswith("to limit claim holds to what is run: `scope: {")
    scope = yaml.safe_load(offer.partition("`")[2].rstrip("`"))["scope"]
    assert scope == SCOPE
    [claim] = json.loads(verb("check", path, "--json").out)["claims"]
    assert claim["limits"] == {k: v for k, v in SCOPE.items() if said is ABSENT or k not in said}
    assert verb("check", spec(folder, {"claims.0.scope": scope})).code == 0


@pytest.mark.parametrize("expect", ["REFUTED", "VACUOUS", "INADMISSIBLE"])
def test_a_claim_that_expects_no_support_is_only_noted(
    folder: Path, verb: Verb, expect: str
) -> None:
    changes = {"claims.0.scope": ABSENT, "claims.0.expect": expect}
    said = verb("check", spec(folder, changes))
    assert said.code == 0
    [note] = said.err.splitlines()
    assert "note: claim holds can only be refuted: it breaks TS-R1, TS-R1b, TS-R2" in note


def test_waivers_are_noted_until_they_expire(folder: Path, verb: Verb) -> None:
    scope = {name: value for name, value in SCOPE.items() if name != "search"}
    narrow = {"claims.0.scope": scope}
    said = verb(
        "check", spec(folder, {**narrow, "claims.0.waivers": waiver("TS-R3a", "2999-01-01")})
    )
    assert said.code == 0
    assert "note: claim holds waives TS-R3a: me, until 2999-01-01: No time." in said.err
    late = verb(
        "check", spec(folder, {**narrow, "claims.0.waivers": waiver("TS-R3a", "2001-01-01")})
    )
    assert late.code == 7
    assert "the waiver of me expired on 2001-01-01" in late.err


def test_problems_of_the_language_come_before_rules(folder: Path, verb: Verb) -> None:
    spec(folder, {"claims.0.scope": ABSENT}, "broken.yaml")
    spec(folder, {"claims.0.waivers": waiver("TS-R8b", "2999-01-01")}, "wrong.yaml")
    said = verb("check", "broken.yaml", "wrong.yaml")
    assert said.code == 2
    assert broken(said)
    assert "[TS-WAIVER]" in said.err


def test_expired_evidence_is_a_broken_rule(folder: Path, verb: Verb) -> None:
    said = verb("check", spec(folder, {"governance": {"expires": "2001-01-01"}}))
    assert said.code == 7
    assert [line["rule"] for line in broken(said)] == ["TS-R8e"]
    assert "the evidence expired on 2001-01-01" in said.err


def test_as_data(folder: Path, verb: Verb) -> None:
    scope = {name: value for name, value in SCOPE.items() if name != "data"}
    path = spec(folder, {"claims.0.scope": scope, "claims.0.for": "each"})
    said = verb("check", path, "--json")
    found = json.loads(said.out)
    assert (said.code, said.err) == (7, "")
    assert found["schema"] == "threatspec/check/v2"
    assert found["problems"] == []
    [claim] = found["claims"]
    assert (claim["id"], claim["expects"], claim["admissible"]) == ("holds", "SUPPORTED", False)
    rules = {rule["rule"]: rule for rule in claim["rules"]}
    assert rules["TS-R3c"]["answer"] == "open"
    assert rules["TS-R1"]["by"] == "scope.replicates: 2"
    assert rules["TS-R1"]["kind"] == "sufficiency"
    assert json.loads(verb("check", spec(folder), "--json").out)["claims"][0]["admissible"]


def test_names_of_others_cannot_drive_the_terminal(folder: Path, verb: Verb) -> None:
    more = {"owner": "a\u001b[31m", "reason": "b\u202e", "expires": "2999-01-01"}
    scope = {name: value for name, value in SCOPE.items() if name != "data"}
    changes = {"claims.0.scope": scope, "claims.0.waivers": [{"rule": "TS-R3c", **more}]}
    said = verb("check", spec(folder, changes))
    assert said.code == 0
    assert "\u001b" not in said.err
    assert "\u202e" not in said.err


def test_checking_rules_imports_nothing_heavy() -> None:
    code = (
        "import sys, contextlib; from threatspec.cli import main\n"
        "with contextlib.suppress(SystemExit): main(['check', 'claims/cases/tar-original.yaml'])\n"
        "print(sorted({'torch', 'numpy', 'transformers', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.splitlines()[-1] == "[]"


# list and explain


def test_every_rule_is_listed_and_explained(verb: Verb) -> None:
    listed = json.loads(verb("list", "rules", "--json").out)["names"]
    assert [entry["name"] for entry in listed] == list(RULES)
    for code, rule in RULES.items():
        said = verb("explain", code).out
        for text in (rule.says, rule.title, rule.applies, rule.remedy, rule.source):
            assert text in said, (code, text)
        assert (rule.scope in said) if rule.scope else ("scope: {" not in said)
        assert (f"{{rule: {code}, owner:" in said) == rule.waivable
        assert f"rule of {rule.kind.value}" in said


def test_fields_of_a_scope_name_the_rule_they_answer() -> None:
    for rule in RULES.values():
        if rule.scoped_by:
            assert rule.code in language_fields()[f"claim.scope.{rule.scoped_by}"].says


def test_descriptions_are_listed_and_explained(verb: Verb, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert "repnoise-loop" in verb("list", "descriptions").out
    said = verb("explain", "repnoise-loop").out
    assert "repnoise-loop (description)" in said
    assert "a trainer that nothing here runs" in said
    assert "(code)" in said
