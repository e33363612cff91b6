"""What a claim protects, who answers for it and until when, limits, scopes, and origins of rows."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from datetime import UTC, date, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.support.made import BROKEN, COLLAPSED, DEAD, HELD, campaign
from tests.support.specs import ABSENT, load, plan_of, problems_of
from threatspec import api
from threatspec.claims import ClaimVerdict, Evidence, decide
from threatspec.cli import main
from threatspec.errors import Problem, SpecErrors
from threatspec.measures import benchmark
from threatspec.records import Ledger
from threatspec.reports import render_terminal, verdict_json
from threatspec.schema import Governance, Property, Protects, Verdict

EXPIRES = date(2026, 6, 1)
ROWS = "adversaries.tuner.data.harmful"


def language_problems(folder: Path, changes: dict[str, Any]) -> list[Problem]:
    with pytest.raises(SpecErrors) as caught:
        load(folder, changes)
    return list(caught.value.problems)


def codes(found: list[Problem]) -> list[tuple[str, str]]:
    return [(p.code, p.path) for p in found]


# protects, governance: language


@pytest.mark.parametrize(
    ("value", "code", "path"),
    [
        ({}, "TS-MISSING-FIELD", "protects"),
        ({"asset": "data"}, "TS-MISSING-FIELD", "protects.asset"),
        ({"property": "integrity"}, "TS-MISSING-FIELD", "protects.property"),
        ({"asset": "data", "property": "secrecy"}, "TS-WRONG-TYPE", "protects.property"),
        ({"harm": []}, "TS-WRONG-TYPE", "protects.harm"),
        ({"harm": "fraud"}, "TS-WRONG-TYPE", "protects.harm"),
        ({"harms": ["fraud"]}, "TS-UNKNOWN-FIELD", "protects.harms"),
    ],
)
@pytest.mark.parametrize("of", ["", "claims.0."])
def test_what_protects_must_say(
    tmp_path: Path, value: dict[str, Any], code: str, path: str, of: str
) -> None:
    found = codes(language_problems(tmp_path, {f"{of}protects": value}))
    assert (code, f"{'claims[0].' if of else ''}{path}") in found


@pytest.mark.parametrize(
    "written", ["2026-6-1", "2026-02-30", "20260601", "2026-06-01T00:00", "soon", 2026, True]
)
def test_a_day_is_a_date_of_the_calendar(tmp_path: Path, written: Any) -> None:
    found = language_problems(tmp_path, {"governance": {"expires": written}})
    assert codes(found) == [("TS-WRONG-TYPE", "governance.expires")]
    assert "YYYY-MM-DD" in found[0].message


def test_governance_is_read_and_kept_in_the_plan(tmp_path: Path) -> None:
    written = {
        "owner": "the release team",
        "standards": ["internal policy 7"],
        "disclosure": "the author, 90 days before publication",
        "retention": "3 years",
        "expires": "2026-06-01",
    }
    protects = {"harm": ["fraud"], "asset": "the weights", "property": "integrity"}
    loaded = load(tmp_path, {"governance": written, "protects": protects})
    assert loaded.spec.governance is not None
    assert loaded.spec.governance.expires == EXPIRES
    plan = plan_of(tmp_path, {"governance": written, "protects": protects})
    assert plan.spec["governance"] == written
    assert plan.spec["protects"] == protects


# expiry: verdicts


def governed(evidence: Evidence, at: date, **spec: Any) -> Evidence:
    """The campaign as if it had been governed, answered as of a day."""
    spec = {"governance": {"expires": EXPIRES.isoformat()}, **spec}
    plan = evidence.plan.model_copy(update={"spec": {**evidence.plan.spec, **spec}})
    return replace(evidence, plan=plan, at=at)


def answer(evidence: Evidence) -> ClaimVerdict:
    return decide(evidence).claims[0]


HOLDS = campaign({"tuner": [HELD] * 3})


@pytest.mark.parametrize(
    ("at", "verdict"),
    [
        (date(2026, 5, 31), Verdict.SUPPORTED),
        (date(2026, 6, 1), Verdict.INADMISSIBLE),
        (date(2031, 1, 1), Verdict.INADMISSIBLE),
    ],
)
def test_expired_evidence_supports_nothing(at: date, verdict: Verdict) -> None:
    found = answer(governed(HOLDS, at))
    assert found.verdict is verdict
    expired = any("the evidence expired on 2026-06-01" in reason for reason in found.reasons)
    assert expired == (verdict is Verdict.INADMISSIBLE)


@pytest.mark.parametrize(
    ("evidence", "verdict"),
    [
        (campaign({"tuner": [HELD, BROKEN]}), Verdict.REFUTED),
        (campaign({"tuner": [HELD]}, {"tuner": [DEAD]}), Verdict.VACUOUS),
        (campaign({"tuner": [COLLAPSED]}, counts_if="utility >= 0.5"), Verdict.VACUOUS),
    ],
)
def test_a_break_and_an_empty_evidence_come_before_expiry(
    evidence: Evidence, verdict: Verdict
) -> None:
    assert answer(governed(evidence, date(2030, 1, 1))).verdict is verdict


def test_no_expiry_and_no_governance_block_nothing() -> None:
    late = date(2099, 1, 1)
    assert answer(replace(HOLDS, at=late)).verdict is Verdict.SUPPORTED
    owned = governed(HOLDS, late, governance={"owner": "me"})
    assert answer(owned).verdict is Verdict.SUPPORTED


def test_a_finished_campaign_is_answered_as_of_its_run(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, {"governance": {"expires": "2026-06-01"}})
    with Ledger.create(tmp_path / "out", plan) as ledger:
        ledger.event("run-finished")
    today = datetime.now(UTC).date()
    assert api.evidence(tmp_path / "out").at == today
    for at, day in ((1780271999, date(2026, 5, 31)), (1780272000, date(2026, 6, 1))):
        with sqlite3.connect(tmp_path / "out" / "ledger.sqlite") as db:
            db.execute("UPDATE events SET at = ? WHERE kind = 'run-finished'", (at,))
        assert api.evidence(tmp_path / "out").at == day


# reports


def test_verdicts_carry_what_is_protected_and_who_answers_for_it() -> None:
    protects = {"harm": ["fraud"], "asset": "the weights", "property": "integrity"}
    own = {"asset": "the data", "property": "confidentiality"}
    at = date(2026, 1, 1)
    found = answer(governed(HOLDS, at, protects=protects))
    assert found.protects == Protects(
        harm=("fraud",), asset="the weights", property=Property.INTEGRITY
    )
    assert found.governance == Governance(expires=EXPIRES)
    other = campaign({"tuner": [HELD] * 3}, protects=own)
    assert answer(governed(other, at, protects=protects)).protects == Protects(
        asset="the data", property=Property.CONFIDENTIALITY
    )
    assert answer(HOLDS).protects is None


def test_reports_show_it() -> None:
    protects = {"harm": ["fraud"], "asset": "the weights", "property": "integrity"}
    governance = {"owner": "the team", "standards": ["policy 7"], "expires": "2026-06-01"}
    evidence = governed(HOLDS, date(2026, 1, 1), protects=protects, governance=governance)
    verdict = decide(evidence)
    console = Console(file=StringIO(), width=120)
    render_terminal(console, evidence, verdict, full=True)
    assert isinstance(console.file, StringIO)
    shown = console.file.getvalue()
    assert "against harm: fraud; asset: integrity of the weights" in shown
    assert "owner: the team; standards: policy 7; expires: 2026-06-01" in shown
    claim = json.loads(verdict_json(verdict))["claims"][0]
    assert claim["governance"]["expires"] == "2026-06-01"
    assert claim["protects"] == protects


# scope of a claim


@pytest.mark.parametrize(
    ("scope", "code", "path"),
    [
        ({"templates": ["none"]}, "TS-OUT-OF-RANGE", "claims[0].scope.templates"),
        ({"templates": ["native", "none"]}, "TS-OUT-OF-RANGE", "claims[0].scope.templates"),
        ({"templates": ["chat"]}, "TS-WRONG-TYPE", "claims[0].scope.templates[0]"),
        ({"templates": []}, "TS-WRONG-TYPE", "claims[0].scope.templates"),
        ({"trainers": ["resident"]}, "TS-UNKNOWN-FIELD", "claims[0].scope.trainers"),
    ],
)
def test_a_scope_is_what_is_run(
    tmp_path: Path, scope: dict[str, Any], code: str, path: str
) -> None:
    assert (code, path) in codes(language_problems(tmp_path, {"claims.0.scope": scope}))


def test_a_scope_follows_the_serving(tmp_path: Path) -> None:
    changes = {"serving.template": "none", "claims.0.scope": {"templates": ["none"]}}
    assert load(tmp_path, changes).spec.claims[0].scope
    changes["claims.0.scope"] = {"templates": ["native"]}
    assert codes(language_problems(tmp_path, changes)) == [
        ("TS-OUT-OF-RANGE", "claims[0].scope.templates")
    ]


def test_the_scope_ends_the_sentence_of_the_verdict() -> None:
    scope = {"trainer": ["resident"], "templates": ["native"], "replicates": 1,
             "safeguard": "checkpoint", "search": "listed", "families": ["tuner"],
             "data": "listed", "utility": ["utility"], "text": "text prompts only"}  # fmt: skip
    said = answer(campaign({"tuner": [HELD]}, scope=scope)).scope
    assert said.endswith(
        "; limited to: trained by resident; asked with template native; 1 replicate; "
        "this checkpoint; listed configurations; attacks by tuner; listed rows; "
        "utility told by utility; text prompts only."
    )
    bare = answer(campaign({"tuner": [HELD]}, scope=None)).scope
    assert said.startswith(bare.removesuffix("."))


# limits of attacks


def test_an_adapter_of_a_higher_rank_is_over_the_limit(tmp_path: Path) -> None:
    attacks = [{"use": "lora-finetune", "rank": 4}, {"use": "lora-finetune", "rank": 5}]
    changes = {"adversaries.tuner.attacks": attacks, "adversaries.tuner.limits": {"rank_max": 4}}
    (found,) = problems_of(tmp_path, changes, static=True)
    assert (found.code, found.path) == ("TS-BUDGET", "adversaries.tuner.attacks[1]")
    assert "rank_max 4, but its rank is 5" in found.message


def test_training_all_weights_is_over_every_rank(tmp_path: Path) -> None:
    (found,) = problems_of(tmp_path, {"adversaries.tuner.limits": {"rank_max": 1024}}, static=True)
    assert (found.code, found.path) == ("TS-BUDGET", "adversaries.tuner.attacks[0]")


def test_what_is_over_a_limit_is_not_selected(tmp_path: Path) -> None:
    free = {"adversaries.tuner.attacks": ABSENT, "adversaries.tuner.compute": {"steps": 1000}}
    limited = {**free, "adversaries.tuner.limits": {"rank_max": 1}}

    def kinds(changes: dict[str, Any]) -> set[str]:
        return {p.attack for p in plan_of(tmp_path, changes).procedures.values()}

    assert {"full-finetune", "lora-finetune"} <= kinds(free)
    assert kinds(limited) == {"prefill"}


def test_a_limit_of_queries_is_not_evaluated(tmp_path: Path) -> None:
    found = language_problems(tmp_path, {"adversaries.tuner.limits": {"queries": 1}})
    assert codes(found) == [("TS-NOT-EVALUATED", "adversaries.tuner.limits.queries")]


# origin of rows


def test_rows_must_be_those_of_the_spec(tmp_path: Path) -> None:
    found = benchmark("specimen/restricted", tmp_path)
    same = {f"{ROWS}.hash": found.digest, f"{ROWS}.licence": found.licence}
    plain, bound = plan_of(tmp_path), plan_of(tmp_path, same)
    assert bound.procedures == plain.procedures
    other = {f"{ROWS}.hash": "benchmark-00", f"{ROWS}.licence": "MIT"}
    problems = problems_of(tmp_path, other, static=True)
    assert [(p.code, p.path.rpartition(".")[2]) for p in problems] == [
        ("TS-DATA", "hash"),
        ("TS-DATA", "licence"),
    ]
    assert "'benchmark-00'" in problems[0].message
    assert found.digest in problems[0].message
    assert "'MIT'" in problems[1].message
    assert found.licence in problems[1].message


def test_explain_prints_the_digest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["explain", "specimen/restricted"])
    assert benchmark("specimen/restricted", tmp_path).digest in capsys.readouterr().out
