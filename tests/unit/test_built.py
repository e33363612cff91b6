"""Subjects that are built first: planned once, mounted under everything, and given back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import threatspec as ts
from tests.support.specs import load, plan_of, problems_of
from threatspec.records import Ledger, TrialKind

ADAPT = {
    "adapt": "gloss", "method": "full", "from": "specimen/glossary#attack_train", "n": 20,
    "lr": 1e-3, "steps": 5,
}  # fmt: skip
BUILT: dict[str, Any] = {
    "subject.model": "specimen:shallow",
    "subject.build": [ADAPT],
    "adversaries.tuner.data": {
        "harmful": {"n": 8, "from": "specimen/restricted#attack_train"},
        "benign": {"n": 8, "from": "specimen/benign#attack_train"},
    },
    "adversaries.tuner.attacks": [{"use": "full-finetune", "lr": 1e-3, "steps": 3}, "snip-prune"],
}


def test_everything_on_a_built_subject_comes_after_its_building(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, BUILT)
    [build] = [t for t in plan.trials.values() if t.kind is TrialKind.BUILD]
    assert (build.subject, build.needs) == ("specimen:shallow", ())
    built = [c for c in plan.cells.values() if c.subject == "specimen:shallow+subject"]
    assert built
    for cell in built:
        trials = [plan.trials[cell.attack]] if cell.attack else []
        judged = [plan.trials[t] for found in cell.measures.values() for t in found]
        trials += [plan.trials[need] for judge in judged for need in judge.needs]
        assert all(build.id in trial.needs for trial in trials)
    bare = [c for c in plan.cells.values() if c.subject == "specimen:shallow"]
    assert not any(build.id in plan.trials[c.attack].needs for c in bare if c.attack)


def test_scores_are_of_the_built_subject_and_made_once(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, BUILT)
    scores = [t for t in plan.trials.values() if t.kind is TrialKind.SCORE]
    assert sorted(len(trial.needs) for trial in scores) == [0, 0, 1]
    assert len({trial.subject for trial in scores}) == 2


@pytest.mark.parametrize(
    "change", [{"steps": 6}, {"lr": 2e-3}, {"method": "lota"}, {"n": 21}], ids=str
)
def test_another_recipe_is_another_subject(tmp_path: Path, change: dict[str, Any]) -> None:
    first = plan_of(tmp_path, BUILT)
    other = plan_of(tmp_path, {**BUILT, "subject.build": [{**ADAPT, **change}]})
    assert _build(first) != _build(other)
    assert _build(first) == _build(plan_of(tmp_path, BUILT))


def test_another_seed_is_another_subject(tmp_path: Path) -> None:
    other = plan_of(tmp_path, {**BUILT, "subject.build_seed": 1})
    assert _build(plan_of(tmp_path, BUILT)) != _build(other)


def _build(plan: Any) -> str:
    [found] = [t.id for t in plan.trials.values() if t.kind is TrialKind.BUILD]
    return str(found)


@pytest.mark.parametrize(
    ("step", "code"),
    [
        ({"from": "specimen/glossary#test"}, "TS-DATA"),
        ({"from": "specimen/benign#attack_train", "n": 9999}, "TS-DATA"),
        ({"from": "nothing#attack_train"}, "TS-UNKNOWN-BENCHMARK"),
    ],
)
def test_rows_that_are_not_there_are_complained_of(
    tmp_path: Path, step: dict[str, Any], code: str
) -> None:
    problems = problems_of(tmp_path, {**BUILT, "subject.build": [{**ADAPT, **step}]})
    assert {problem.code for problem in problems} == {code}
    assert all(problem.path.startswith("subject.build[0]") for problem in problems)


def test_a_built_subject_is_read_under_its_building(tmp_path: Path) -> None:
    judged = {"benchmark": "specimen/restricted", "judge": "refusal-keywords"}
    step = {**ADAPT, "lr": 3e-3, "steps": 40, "n": 100}
    changes = {**BUILT, "subject.build": [step], "measures.complies": judged,
               "adversaries.tuner.attacks": ["none"]}  # fmt: skip
    outcome = ts.run(load(tmp_path, changes), out=tmp_path / "out")
    with Ledger.open(tmp_path / "out") as ledger:
        results = ledger.results()
    [build] = [results[t.id] for t in outcome.evidence.plan.trials.values()
               if t.kind is TrialKind.BUILD]  # fmt: skip
    [run] = build.realised
    assert run.probe_after < run.probe_before
    cells = {c.cell.subject: c for c in outcome.evidence.cells.values() if not c.cell.attack}
    built, bare = cells["specimen:shallow+subject"], cells["specimen:shallow"]
    assert (
        built.marks["complies"] != bare.marks["complies"]
    )  # the glossary has overwritten refusals
