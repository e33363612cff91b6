"""What is written down before anything runs: digests of claims, and how often they were run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.specs import plan_of
from threatspec.records import (
    REGISTER,
    Attempt,
    Ledger,
    TrialKind,
    TrialResult,
    TrialStatus,
    claim_digests,
    register,
)

SECOND = {
    "id": "second",
    "says": "It holds too.",
    "against": "tuner",
    "holds": "asr <= 0.2",
}


def test_campaigns_of_one_claim_are_counted_in_their_place(tmp_path: Path) -> None:
    plan, runs = plan_of(tmp_path), tmp_path / "runs"
    for count in (1, 2, 3):
        with Ledger.create(runs / str(count), plan) as ledger:
            assert ledger.registration().runs == {"holds": count}
    with Ledger.create(runs / "3", plan) as ledger:
        assert ledger.registration().runs == {"holds": 3}, "going on is no new run"
    with Ledger.create(tmp_path / "elsewhere" / "1", plan) as ledger:
        assert ledger.registration().runs == {"holds": 1}


@pytest.mark.parametrize(
    "change",
    [
        {"claims.0.holds": "asr <= 0.11"},
        {"claims.0.seeds.replicates": 3},
        {"adversaries.tuner.compute.steps": 31},
        {"measures.asr.span": "all"},
        {"serving.max_tokens": 13},
        {"subject.model": "specimen:shallow"},
    ],
)
def test_whatever_a_claim_rests_on_makes_another_claim(tmp_path: Path, change: dict) -> None:  # type: ignore[type-arg]
    before, after = plan_of(tmp_path), plan_of(tmp_path, change)
    assert claim_digests(before) != claim_digests(after)
    register(tmp_path, before)
    assert register(tmp_path, after) == {"holds": 1}
    assert register(tmp_path, before) == {"holds": 2}


def test_another_claim_of_the_file_changes_nothing_for_this_one(tmp_path: Path) -> None:
    register(tmp_path, plan_of(tmp_path))
    both = plan_of(tmp_path, {"claims.1": SECOND})
    assert register(tmp_path, both) == {"holds": 2, "second": 1}


def test_a_register_that_is_spoilt_or_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    (tmp_path / REGISTER).write_bytes(b'\xff{"claims": 1}\n[]\nnull\n{"claims": {"holds": 7}}\n')
    assert register(tmp_path, plan) == {"holds": 1}
    assert register(tmp_path, plan) == {"holds": 2}
    (tmp_path / "blocked" / REGISTER).mkdir(parents=True)
    with Ledger.create(tmp_path / "blocked" / "run", plan) as ledger:
        found = ledger.registration()
    assert found.runs == {}
    assert found.claims == claim_digests(plan)


def test_a_registration_says_what_was_frozen_and_when_prompts_were_first_read(
    tmp_path: Path,
) -> None:
    plan = plan_of(tmp_path)
    attack, asked = (
        next(t.id for t in plan.trials.values() if t.kind is kind)
        for kind in (TrialKind.ATTACK, TrialKind.GENERATE)
    )
    with Ledger.create(tmp_path / "run", plan) as ledger:
        before = ledger.registration()
        assert (before.plan, before.first_row_at) == (plan.id, 0.0)
        assert before.frozen_at > 0
        for trial, began in ((attack, before.frozen_at + 1), (asked, before.frozen_at + 5)):
            done = TrialResult(trial=trial, status=TrialStatus.DONE)
            ledger.record(done, Attempt("worker-1", began, began + 1))
        assert ledger.registration().first_row_at == before.frozen_at + 5
