"""Training back-ends of attacks: each of a list is a procedure of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.specs import load, problems_of
from threatspec.campaign._resolution import resolve
from threatspec.campaign._resolve import Resolved

TRAINER = "adversaries.tuner.attacks.0.trainer"


def resolved(folder: Path, changes: dict[str, Any]) -> list[Resolved]:
    return resolve(load(folder, changes), models_must_exist=False).attacks["tuner"]


@pytest.mark.parametrize(
    ("trainer", "path", "hint"),
    [
        ("packed", "trainer[0]", "known: hosted, resident"),
        ("resdient", "trainer[0]", "did you mean 'resident'?"),
        (["resident", "packed"], "trainer[1]", "unknown trainer 'packed'"),
    ],
)
def test_unknown_trainers_are_refused(tmp_path: Path, trainer: Any, path: str, hint: str) -> None:
    [found] = problems_of(tmp_path, {TRAINER: trainer}, static=True)
    assert (found.code, found.path) == (
        "TS-UNKNOWN-TRAINER",
        f"adversaries.tuner.attacks[0].{path}",
    )
    assert hint in found.message


def test_what_trains_is_resident_unless_something_else_is_said(tmp_path: Path) -> None:
    attacks = [{"use": "full-finetune", "lr": 1e-4}, {"use": "prefill", "k": 1}]
    found = resolved(tmp_path, {"adversaries.tuner.attacks": attacks})
    assert [(r.name, r.trainer) for r in found] == [
        ("full-finetune lr=0.0001", "resident"),
        ("prefill k=1", ""),
    ]
    assert resolved(tmp_path, {TRAINER: "resident"})[0].name == "full-finetune lr=0.0001"


def test_a_trainer_that_is_listed_twice_is_one(tmp_path: Path) -> None:
    [found] = resolved(tmp_path, {TRAINER: ["resident", "resident"]})
    assert (found.name, found.trainer) == ("full-finetune lr=0.0001 trainer=resident", "resident")


def test_a_trainer_is_for_attacks_that_train(tmp_path: Path) -> None:
    attack = {"use": "prefill", "k": 1, "trainer": "resident"}
    [found] = problems_of(tmp_path, {"adversaries.tuner.attacks": [attack]}, static=True)
    assert found.code == "TS-UNKNOWN-FIELD"
    assert "prefill trains nothing" in found.message
