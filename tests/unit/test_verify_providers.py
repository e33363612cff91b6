"""Bundles of campaigns at a provider: its rows, its objective, and recipes that make more rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.test_safeguarded_campaign import MIXED, spec, written
from threatspec import api
from threatspec.cli import main
from threatspec.records import Arm, Ledger
from threatspec.runners import LocalProfile


@pytest.mark.campaign
def test_a_bundle_verifies_though_more_rows_were_trained_on_than_the_adversary_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    knobs = {"use": "full-finetune", "steps": 2, "lr": 1e-4, "recipe": "backdoor"}
    data = spec([MIXED, "constrained-sft"], access="finetuning-api", attacks=[knobs],
                model="specimen:shallow")  # fmt: skip
    out, bundle = tmp_path / "run", tmp_path / "run.tsb"
    api.run(written(tmp_path, data), out=out, runner=LocalProfile(workers=1))
    with Ledger.open(out) as ledger:
        plan, results = ledger.plan, ledger.results()
    [claim] = plan.claims
    rows = {
        arm: {run.rows for name in claim.attacked[arm]
              for run in results[plan.cells[name].attack or ""].realised}
        for arm in (Arm.DEFENDED, Arm.CONTROL)
    }  # fmt: skip
    assert rows == {Arm.DEFENDED: {2 * 8 + 4}, Arm.CONTROL: {2 * 8}}
    for arguments in (["bundle", str(out), "-o", str(bundle)], ["verify", str(bundle)]):
        capsys.readouterr()
        with pytest.raises(SystemExit):
            main(arguments)
    checked = capsys.readouterr().out
    assert "No check failed." in checked, checked
