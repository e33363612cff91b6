"""The worked example of `docs/flops.md` is what the program predicts."""

from __future__ import annotations

from pathlib import Path

import pytest

from threatspec.attacks import ATTACKS, DataCard
from threatspec.measures import benchmark
from threatspec.subjects import describe

DOC = (Path(__file__).parents[2] / "docs" / "flops.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", ["full-finetune", "lora-finetune"])
def test_the_prediction_is_as_written(kind: str) -> None:
    rows = benchmark("specimen/restricted", Path()).items("attack_train")
    words = max(len(f"{row.prompt} {row.answer}".split()) for row in rows)
    attack = ATTACKS.get(kind)
    config = attack.Config.model_validate({"lr": 1e-4, "steps": 10})
    cost = attack.cost(describe("specimen:shallow"), config, DataCard(rows=10, words=words))
    [line] = [line for line in DOC.splitlines() if line.startswith(f"| `{kind}`")]
    assert line.split(" | ")[1].endswith(f" = {cost.flops:,.0f}")
