"""The ledger: nothing measured is lost, nothing is written twice, nothing is overwritten."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from threatspec.errors import ThreatspecError
from threatspec.records import (
    Attempt,
    Execution,
    Generation,
    Ledger,
    Outcome,
    Plan,
    Row,
    Spend,
    Trial,
    TrialKind,
    TrialResult,
    TrialStatus,
)


def a_plan(trials: int = 2) -> Plan:
    made = [
        Trial(id=f"generate-{n}", kind=TrialKind.GENERATE, subject="s", needs=(), work={"n": n})
        for n in range(trials)
    ]
    return Plan(
        spec_file="x.yaml", spec={}, execution=Execution(), digests={}, measures={}, procedures={},
        cells={}, trials={t.id: t for t in made}, claims=(),
    )  # fmt: skip


def a_result(trial: str = "generate-0") -> TrialResult:
    return TrialResult(
        trial=trial,
        status=TrialStatus.DONE,
        spend=Spend(steps=3, flops=1e9, seconds=0.25),
        rows=(
            Row(item="b", cluster="c", outcome=Outcome.YES),
            Row(item="a", cluster="c", outcome=Outcome.NO),
        ),
        generations=(
            Generation(item="b", prompt="p", attacker="", reply="r"),
            Generation(item="a", prompt="q", attacker="x", reply="", outcome=Outcome.MISSING),
        ),
    )


ONCE = Attempt("worker-1", 1.0, 2.0)


def test_what_was_recorded_is_read_back_equal(tmp_path: Path) -> None:
    with Ledger.create(tmp_path, a_plan()) as ledger:
        ledger.record(a_result(), ONCE)
        kept = ledger.results()["generate-0"]
        assert kept == a_result().model_copy(update={"generations": (), "rows": ()})
        assert ledger.rows("generate-0") == a_result().rows
        assert ledger.generations("generate-0") == a_result().generations


def test_a_second_result_of_a_trial_is_refused_and_the_first_stays(tmp_path: Path) -> None:
    with Ledger.create(tmp_path, a_plan()) as ledger:
        ledger.record(a_result(), ONCE)
        with pytest.raises(sqlite3.IntegrityError):
            ledger.record(a_result(), ONCE)
        assert len(ledger.rows("generate-0")) == 2
        assert len(ledger.attempts()) == 1  # one transaction: the attempt went with the result


def test_an_attempt_that_is_not_final_leaves_no_result(tmp_path: Path) -> None:
    with Ledger.create(tmp_path, a_plan()) as ledger:
        ledger.record(a_result(), ONCE, final=False)
        assert ledger.results() == {}
        assert [a["final"] for a in ledger.attempts()] == [0]


def test_a_folder_of_another_plan_is_refused_by_code(tmp_path: Path) -> None:
    Ledger.create(tmp_path, a_plan()).close()
    with pytest.raises(ThreatspecError) as caught:
        Ledger.create(tmp_path, a_plan(trials=3))
    assert caught.value.code == "TS-RUN-OTHER-PLAN"


def test_a_second_writer_is_refused_and_a_reader_is_not(tmp_path: Path) -> None:
    with Ledger.create(tmp_path, a_plan()):
        with pytest.raises(ThreatspecError) as caught:
            Ledger.open(tmp_path, writable=True)
        assert caught.value.code == "TS-RUN-LOCKED"
        Ledger.open(tmp_path).close()


def test_a_changed_plan_is_noticed(tmp_path: Path) -> None:
    Ledger.create(tmp_path, a_plan()).close()
    path = tmp_path / "plan.json"
    plan = json.loads(path.read_text())
    plan["execution"]["threads"] = 2
    path.write_text(json.dumps(plan))
    with pytest.raises(ThreatspecError) as caught:
        Ledger.open(tmp_path)
    assert caught.value.code == "TS-RECORDS"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": "threatspec/plan/v9"}'])
def test_an_unreadable_plan_is_a_coded_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(ThreatspecError) as caught:
        Ledger.open(tmp_path)
    assert caught.value.code == "TS-RECORDS"


def test_a_folder_without_a_run_is_a_coded_error(tmp_path: Path) -> None:
    with pytest.raises(ThreatspecError) as caught:
        Ledger.open(tmp_path)
    assert caught.value.code == "TS-NO-RUN"


def test_a_garbled_ledger_is_a_coded_error(tmp_path: Path) -> None:
    Ledger.create(tmp_path, a_plan()).close()
    (tmp_path / "ledger.sqlite").write_bytes(b"not a database at all" * 100)
    with pytest.raises(ThreatspecError) as caught:
        Ledger.open(tmp_path)
    assert caught.value.code == "TS-RECORDS"


def test_a_creation_that_died_half_way_starts_afresh(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").write_bytes(b"half a file")
    with Ledger.create(tmp_path, a_plan()) as ledger:
        assert ledger.results() == {}


def test_the_plan_id_does_not_depend_on_the_files_name_but_on_everything_else() -> None:
    plan = a_plan()
    assert plan.id == plan.model_copy(update={"spec_file": "y.yaml"}).id
    assert plan.id != plan.model_copy(update={"execution": Execution(threads=2)}).id
