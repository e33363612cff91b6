"""Description cards: names of published claims that can be reasoned about and not run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.specs import load, plan_of, problems_of
from threatspec.campaign import check_design, check_spec
from threatspec.errors import SpecErrors
from threatspec.loading import load_descriptions

ROOT = Path(__file__).parents[2]
KINDS = {"prompts": "benchmark", "hunch": "judge", "elsewhere": "trainer"}
CARD: dict[str, Any] = {
    "schema": "threatspec/description/v1",
    "name": "prompts",
    "kind": "benchmark",
    "says": "Prompts of a paper.",
    "source": {"work": "a paper", "section": "4", "provenance": "paper"},
    "licence": "MIT",
}


def write(folder: Path, stem: str = "prompts", **changes: Any) -> Path:
    path = folder / "descriptions" / f"{stem}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    card = {key: value for key, value in {**CARD, "name": stem, **changes}.items() if value}
    path.write_text(json.dumps(card), encoding="utf-8")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, kind in KINDS.items():
        write(tmp_path, name, kind=kind)
    return tmp_path


BENCHMARK = {"measures.asr.benchmark": "prompts"}
JUDGE = {"measures.asr.judge": "hunch"}
TRAINER = {"adversaries.tuner.attacks.0.trainer": ["resident", "elsewhere"]}
ROWS = {"adversaries.tuner.data.harmful": {"n": 10_000, "from": "prompts#safeguard_train"}}
STEP = {"adapt": "task", "from": "prompts#attack_train", "n": 10_000, "lr": 1e-4, "steps": 9}
USES = {
    "subject.build[0].from": {"subject.build": [STEP]},
    "measures.asr.benchmark": BENCHMARK,
    "measures.asr.judge": JUDGE,
    "adversaries.tuner.attacks[0].trainer[1]": TRAINER,
    "adversaries.tuner.data.harmful.from": ROWS,
}


@pytest.mark.parametrize("place", USES)
def test_what_is_described_is_checked_and_neither_planned_nor_run(folder: Path, place: str) -> None:
    loaded = load(folder, USES[place])
    check_spec(loaded)
    assert check_design(loaded)
    [problem] = problems_of(folder, USES[place])
    assert (problem.code, problem.path) == ("TS-DESCRIBED-ONLY", place)
    assert "nothing here runs it" in problem.message


def test_a_search_on_described_prompts_is_checked(folder: Path) -> None:
    searched = {"adversaries.tuner.attacks": [{"use": "full-finetune", "lr": [1e-4, 1e-3]}]}
    compute = {"adversaries.tuner.compute.configurations": 2}
    assert check_design(load(folder, {**BENCHMARK, **searched, **compute}))


def test_a_name_is_refused_once(folder: Path) -> None:
    attack = {"use": "full-finetune", "trainer": "elsewhere"}
    many = {"adversaries.tuner.attacks": [attack, {**attack, "lr": 1e-3}], **BENCHMARK, **ROWS}
    assert [p.code for p in problems_of(folder, many)] == ["TS-DESCRIBED-ONLY"] * 2


NAMED = (
    (BENCHMARK, "prompts", "TS-UNKNOWN-BENCHMARK"),
    (JUDGE, "hunch", "TS-UNKNOWN-JUDGE"),
    (TRAINER, "elsewhere", "TS-UNKNOWN-TRAINER"),
    (
        {"adversaries.tuner.data.harmful": {"n": 1, "from": "prompts#attack_train"}},
        "prompts",
        "TS-UNKNOWN-BENCHMARK",
    ),
)


@pytest.mark.parametrize(
    ("use", "name", "code", "other"),
    [(*named, kind) for named in NAMED for kind in KINDS.values() if kind != KINDS[named[1]]],
)
def test_a_name_must_be_described_as_what_it_is_used_for(
    tmp_path: Path, use: dict[str, Any], name: str, code: str, other: str
) -> None:
    assert [p.code for p in problems_of(tmp_path, use, static=True)] == [code]
    write(tmp_path, name, kind=other)
    assert [p.code for p in problems_of(tmp_path, use, static=True)] == [code]


def test_what_ships_comes_before_what_is_described(tmp_path: Path) -> None:
    write(tmp_path, "exact", kind="judge")
    write(tmp_path, "resident", kind="trainer")
    plan = plan_of(tmp_path)
    assert plan.measures["asr"].exact


@pytest.mark.parametrize(
    ("changes", "path", "words"),
    [
        ({"from": "prompts#test"}, "from", "one of the splits attack_train, attack_dev, safeguard"),
        ({"from": "prompts"}, "from", "one of the splits"),
        ({"hash": "benchmark-00"}, "hash", "only described, so its hash cannot be compared"),
        ({"licence": "GPL"}, "licence", "must be 'GPL' as the spec says, but is 'MIT'"),
    ],
)
def test_rows_that_are_described_must_fit_their_card(
    folder: Path, changes: dict[str, Any], path: str, words: str
) -> None:
    rows = {"n": 5, "from": "prompts#attack_train", "licence": "MIT", **changes}
    [found] = problems_of(folder, {"adversaries.tuner.data.harmful": rows}, static=True)
    assert (found.code, found.path) == ("TS-DATA", f"adversaries.tuner.data.harmful.{path}")
    assert words in found.message


def test_described_rows_must_not_be_what_is_measured(folder: Path) -> None:
    changes = {"measures.asr": {"benchmark": "prompts", "judge": "exact", "split": "attack_dev"}}
    rows = {"adversaries.tuner.data.harmful": {"n": 5, "from": "prompts#attack_dev"}}
    [found] = problems_of(folder, {**changes, **rows}, static=True)
    assert "rows must not be prompts that a measure reads" in found.message


def test_slices_and_answers_of_a_description_are_not_looked_for(folder: Path) -> None:
    changes = {
        **BENCHMARK,
        "claims.0.holds": "asr[category=fire] <= 0.1",
        "adversaries.tuner.attacks": [{"use": "prefill", "k": 1}],
    }
    check_spec(load(folder, changes))


def test_settings_of_a_described_judge_are_its_own_affair(folder: Path) -> None:
    judge = {"measures.asr.judge": {"use": "hunch", "any_of": ["yes"]}}
    check_spec(load(folder, judge))


# cards


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"kind": "model"}, "TS-WRONG-TYPE"),
        ({"kind": None}, "TS-MISSING-FIELD"),
        ({"name": "other"}, "TS-CARD"),
        ({"name": "Prompts"}, "TS-WRONG-TYPE"),
        ({"schema": "threatspec/description/v2"}, "TS-WRONG-TYPE"),
        ({"source": {"work": "x", "section": "y", "provenance": "hearsay"}}, "TS-WRONG-TYPE"),
        ({"licence": None}, "TS-MISSING-FIELD"),
        ({"sha256": "00"}, "TS-UNKNOWN-FIELD"),
    ],
)
def test_cards_that_are_wrong(tmp_path: Path, changes: dict[str, Any], code: str) -> None:
    path = write(tmp_path, "prompts", **changes)
    with pytest.raises(SpecErrors) as caught:
        load_descriptions(tmp_path)
    assert [(p.code, p.file) for p in caught.value.problems] == [(code, str(path))]
    found = problems_of(tmp_path, BENCHMARK, static=True)
    assert code in {problem.code for problem in found}


def test_wrong_cards_harm_nobody_who_needs_none(tmp_path: Path) -> None:
    write(tmp_path).write_text("a: [", encoding="utf-8")
    assert plan_of(tmp_path)


def test_cards_lie_in_the_folders_of_claims(tmp_path: Path) -> None:
    settings = {"schema": "threatspec/workspace/v1", "claims": ["one", "two", "one"]}
    (tmp_path / "threatspec.yaml").write_text(json.dumps(settings), encoding="utf-8")
    write(tmp_path / "one", "a")
    write(tmp_path / "two", "b")
    write(tmp_path / "three", "c")
    (tmp_path / "one" / "deep").mkdir()
    assert list(load_descriptions(tmp_path / "one" / "deep" / "x.yaml")) == ["a", "b"]
    write(tmp_path / "two", "a")
    with pytest.raises(SpecErrors) as caught:
        load_descriptions(tmp_path)
    assert "must be unique" in caught.value.message


def test_without_a_workspace_file_the_folder_claims_is_meant(tmp_path: Path) -> None:
    assert load_descriptions(tmp_path) == {}
    write(tmp_path / "claims", "a")
    assert list(load_descriptions(tmp_path / "claims")) == ["a"]


def test_nothing_outside_the_workspace_is_read(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    write(outside, "secret")
    write(inside, "mine")
    (inside / "descriptions" / "link.yaml").symlink_to(outside / "descriptions" / "secret.yaml")
    settings = {"schema": "threatspec/workspace/v1", "claims": [".", "../outside"]}
    (inside / "threatspec.yaml").write_text(json.dumps(settings), encoding="utf-8")
    assert list(load_descriptions(inside)) == ["mine"]


def test_every_card_that_ships_is_used_by_a_claim_that_ships() -> None:
    places = (ROOT / "claims" / name for name in ("cases", "papers"))
    cases = "".join(p.read_text(encoding="utf-8") for q in places for p in q.glob("*.yaml"))
    cards = load_descriptions(ROOT / "claims")
    assert cards
    assert [name for name in cards if name not in cases] == []
