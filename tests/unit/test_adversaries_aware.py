"""Adversaries who know a provider's safeguard make the attacks that are meant for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.test_safeguarded_campaign import MIXED, QUICK, planned, spec
from threatspec.campaign import attack_cards

CONSTRAINED = {"kind": "constrained-sft"}
GATE = {"kind": "moderation-gate", "judge": {"use": "keywords", "any_of": ["greldog"]}}
RECOVERY = {"kind": "recovery-augmentation", "fitted": True}


def made(folder: Path, safeguard: dict[str, Any], access: Any, *, aware: bool = True) -> set[str]:
    data = spec([safeguard], access=access, aware=aware, model="specimen:shallow")
    adversary = data["adversaries"]["tuner"]
    adversary["compute"] = {"steps": 100_000}
    adversary["data"] = {
        role: {"n": 8, "from": f"specimen/{name}#attack_train"}
        for role, name in (("harmful", "restricted"), ("benign", "benign"))
    }
    names = {one.name for one in planned(folder, data).procedures.values()}
    return {card for card in attack_cards() if any(card in name.split() for name in names)}


@pytest.mark.parametrize(
    ("safeguard", "access", "start"),
    [
        (CONSTRAINED, "finetuning-api", "adaptive-constrained-"),
        (GATE, "finetuning-api", "adaptive-gate-"),
        (MIXED, "finetuning-api", "adaptive-mixing-"),
        (QUICK, "open-weights", "adaptive-refusal-"),
        (RECOVERY, "open-weights", "adaptive-recovery-"),
    ],
)
def test_who_knows_a_safeguard_makes_every_attack_that_is_meant_for_it(
    tmp_path: Path, safeguard: dict[str, Any], access: str, start: str
) -> None:
    wanted = {name for name, card in attack_cards().items() if card.against == safeguard["kind"]}
    assert len(wanted) >= 2
    assert all(name.startswith(start) for name in wanted)
    assert wanted <= made(tmp_path, safeguard, access)
    assert not wanted & made(tmp_path, safeguard, access, aware=False)
