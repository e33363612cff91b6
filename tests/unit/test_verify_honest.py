"""Whatever the language says and whatever goes wrong in a run: an honest bundle fails no check."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.bundles import SUPPORTED, bundled, failed, holds, results_of, statuses, verified
from tests.support.specs import Changes, plan_of, write_benchmark
from threatspec.api import plan as planned
from threatspec.loading import load_spec
from threatspec.measures import looks_of
from threatspec.records import (
    Attempt,
    Cell,
    Execution,
    Ledger,
    Outcome,
    Plan,
    TrialKind,
    TrialResult,
    TrialStatus,
)
from threatspec.reports.bundle import Verification

ROOT = Path(__file__).parents[2]
BENIGN = {"n": 10, "from": "specimen/benign#attack_train"}
TWO = {
    "deep": {"model": "specimen:deep", "undefended": "specimen:undefended",
             "control": "specimen:shallow"},
    "shallow": {"model": "specimen:shallow", "control": "specimen:shallow"},
}  # fmt: skip


def unmeasured(folder: Path, plan: Plan) -> Verification:
    """A campaign of which nothing was run yet."""
    with Ledger.create(folder / "run", plan):
        pass
    return verified(bundled(folder, folder / "run"))


# plans


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"claims.0.for": "each", "adversaries.tuner.attacks.1": {"use": "prefill", "k": 2}},
        {"claims.0.for": "some", "adversaries.tuner.attacks.1": "lora-finetune",
         "adversaries.tuner.compute": {}},
        {"claims.0.seeds": {"rule": "quantile", "share": 0.5, "replicates": 7, "root": 11}},
        {"claims.0.seeds": {"rule": "mean", "replicates": 3}, "claims.0.margin": 0.05},
        {"claims.0.perspective": "both", "claims.0.for": "each",
         "adversaries.tuner.attacks.1": {"use": "prefill", "k": 1},
         "claims.0.frequency": {"category": {"trormur": 0.5, "voxal": 0.5}}},
        {"claims.0.holds": "asr[category=trormur] <= 0.5 and asr <= undefended.asr",
         "claims.0.provided": "utility >= 0.9 * undefended.utility"},
        {"subject": None, "subjects": TWO},
        {"subject": None, "subjects": TWO, "claims.0.subject": ["shallow", "deep"],
         "claims.1": {"id": "too", "says": "Too.", "against": "tuner", "holds": "utility >= 0.5",
                      "subject": "deep", "seeds": {"replicates": 3}}},
        {"subject.control": "specimen:deep"},
        {"adversaries.tuner.attacks": None, "adversaries.tuner.compute": {}},
        {"adversaries.tuner.data.benign": BENIGN,
         "adversaries.tuner.attacks.0": {"use": "full-finetune", "lr": 1e-4, "steps": "9 steps",
                                         "rows": "mix"},
         "adversaries.tuner.attacks.1": {"use": "full-finetune", "lr": 1e-4, "rows": "benign"}},
        {"adversaries.idle": {"goal": "nothing", "access": "chat-api", "attacks": ["none"]}},
        {"measures.complies": {"benchmark": "specimen/restricted", "judge": "refusal-keywords",
                               "by": ["category"], "span": "all"}},
        {"measures.words": {"benchmark": "specimen/restricted", "cluster": "all",
                            "judge": {"use": "keywords", "any_of": ["sure"]}}},
        {"governance": {"owner": "us", "expires": "2020-01-01"},
         "protects": {"harm": ["fire"]}, "serving": {"template": "none"}},
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("exhaustive", [True, False])
def test_every_plan_of_the_language_fits_its_spec(
    changes: Changes, exhaustive: bool, tmp_path: Path
) -> None:
    given = {key: value for key, value in changes.items() if value is not None}
    edit = {**{key: _gone() for key in changes.keys() - given.keys()}, **given}
    plan = plan_of(tmp_path / "spec", edit, execution=Execution(exhaustive=exhaustive))
    found = unmeasured(tmp_path, plan)
    assert found.failed == ()
    status = statuses(found)
    assert status["compiled again"] == "PASS"
    assert {status[name] for name in ("cells", "seeds", "trials", "ids", "claims")} == {"PASS"}


def _gone() -> Any:
    from tests.support.specs import ABSENT

    return ABSENT


def test_the_quickstart_fits_its_spec(tmp_path: Path) -> None:
    found = unmeasured(tmp_path, planned(load_spec(ROOT / "claims" / "quickstart.yaml")))
    assert found.failed == ()
    assert statuses(found)["compiled again"] == "PASS"


def test_what_is_not_part_of_the_program_cannot_be_known(tmp_path: Path) -> None:
    """Prompts in a file of the author's, in clusters."""
    items = [
        {"id": f"q/{n}", "prompt": f"say {n}", "split": "test", "cluster": f"c{n // 3}",
         "references": [f"{n}"], "answer": f"{n}"}
        for n in range(90)
    ]  # fmt: skip
    write_benchmark(tmp_path / "spec", items)
    changes = {"measures.asr.benchmark": "file:items.jsonl"}
    found = unmeasured(tmp_path, plan_of(tmp_path / "spec", changes))
    assert found.failed == ()
    status = statuses(found)
    assert status["compiled again"] == status["reading order"] == "CANNOT KNOW"


def test_an_attack_of_a_workspace_is_taken_as_the_plan_has_it(tmp_path: Path) -> None:
    """A card of the author's own is not here."""
    card = """
schema: threatspec/attack-card/v1
name: mine
attack: full-finetune
says: Mine.
source: {work: x, section: y, provenance: own}
config: {lr: 1e-4, steps: 30}
"""
    (tmp_path / "spec" / "attacks").mkdir(parents=True)
    (tmp_path / "spec" / "attacks" / "mine.yaml").write_text(card, encoding="utf-8")
    (tmp_path / "spec" / "threatspec.yaml").write_text("schema: threatspec/workspace/v1\n")
    plan = plan_of(tmp_path / "spec", {"adversaries.tuner.attacks": ["mine"]})
    found = unmeasured(tmp_path, plan)
    assert found.failed == ()
    assert statuses(found)["compiled again"] == "CANNOT KNOW"


# runs


Happens = Callable[[Plan, Cell, TrialResult], TrialResult]


def error(plan: Plan, cell: Cell, result: TrialResult) -> TrialResult:
    """One attack fails."""
    if result.trial != next(c.attack for c in plan.cells.values() if c.attack):
        return result
    return TrialResult(trial=result.trial, status=TrialStatus.ERROR, code="TS-TRIAL-ERROR")


def over_budget(plan: Plan, cell: Cell, result: TrialResult) -> TrialResult:
    """Attacks are stopped at what they may spend."""
    if plan.trials[result.trial].kind is not TrialKind.ATTACK:
        return result
    return TrialResult(
        trial=result.trial,
        status=TrialStatus.OVER_BUDGET,
        spend=result.spend.model_copy(update={"steps": 29}),
        code="TS-BUDGET-OVERRUN",
    )


def late(plan: Plan, cell: Cell, result: TrialResult) -> TrialResult:
    """One trial that asks takes too long."""
    trial = plan.trials[result.trial]
    if trial.kind is not TrialKind.GENERATE or cell.attack is None or trial.work["units"][0]:
        return result
    return TrialResult(trial=result.trial, status=TrialStatus.TIMEOUT, code="TS-TRIAL-TIMEOUT")


def silent(plan: Plan, cell: Cell, result: TrialResult) -> TrialResult:
    """Some prompts get no reply, or are screened, and one cannot be judged."""
    what = {0: Outcome.MISSING, 1: Outcome.REJECTED}
    generations = tuple(
        one.model_copy(update={"outcome": what[n], "reply": "sorry i cannot help with that"})
        if n in what else one
        for n, one in enumerate(result.generations)
    )  # fmt: skip
    rows = tuple(
        one.model_copy(update={"outcome": what.get(n, one.outcome)})
        for n, one in enumerate(result.rows)
    )
    counts = looks_of([g.reply for g in generations if g.outcome is not Outcome.REJECTED])
    return result.model_copy(update={"generations": generations, "rows": rows, "replies": counts})


@pytest.mark.parametrize("happens", [error, over_budget, late, silent])
@pytest.mark.parametrize("exhaustive", [True, False])
def test_what_goes_wrong_in_a_run_is_no_forgery(
    happens: Happens, exhaustive: bool, tmp_path: Path
) -> None:
    plan = plan_of(tmp_path / "spec", SUPPORTED, execution=Execution(exhaustive=exhaustive))
    with Ledger.create(tmp_path / "run", plan) as ledger:
        for result in _run(plan, happens):
            now = time.time()
            lost = TrialResult(trial=result.trial, status=TrialStatus.ERROR, code="TS-WORKER-LOST")
            ledger.record(lost, Attempt("worker-1", now, now), final=False)
            ledger.record(result, Attempt("worker-1", time.time(), time.time()))
        ledger.event("run-finished")
    found = verified(bundled(tmp_path, tmp_path / "run", with_generations=True))
    assert found.failed == ()
    assert found.verdict == found.recorded


def _run(plan: Plan, happens: Happens) -> Iterator[TrialResult]:
    """A trial whose need failed has no result."""
    done: dict[str, TrialResult] = {}
    for cell in plan.cells.values():
        for made in results_of(plan, cell, holds):
            needs = plan.trials[made.trial].needs
            ended = all(n in done and done[n].status is TrialStatus.DONE for n in needs)
            if made.trial not in done and ended:
                done[made.trial] = happens(plan, cell, made)
                yield done[made.trial]


def test_a_campaign_that_stopped_reading_what_was_settled_is_complete(tmp_path: Path) -> None:
    """As the runner does it: looks that nothing needs any more have no result."""
    from threatspec.records import Marker
    from threatspec.runners._stopper import Stopper

    plan = plan_of(tmp_path / "spec", SUPPORTED)
    results: dict[str, TrialResult] = {}
    marks: dict[str, bytes] = {}
    stopper, marker, needless = Stopper(plan, results, marks), Marker(plan), set[str]()
    with Ledger.create(tmp_path / "run", plan) as ledger:
        for result in sorted(_run(plan, lambda _plan, _cell, made: made), key=_look(plan)):
            if result.trial in needless:
                continue
            now = time.time()
            ledger.record(result, Attempt("worker-1", now, time.time()))
            results[result.trial] = result.model_copy(update={"rows": (), "generations": ()})
            if result.rows:
                marks.update(marker.of([result]))
                needless |= set(stopper.needless(result.trial))
        ledger.event("run-finished")
    assert needless
    found = verified(bundled(tmp_path, tmp_path / "run"))
    assert failed(found) == set()
    assert statuses(found)["completeness"] == "PASS"


def _look(plan: Plan) -> Callable[[TrialResult], int]:
    """Look after look; the sort is stable, so needs come first."""
    asked = {
        need: look
        for cell in plan.cells.values()
        for trials in cell.measures.values()
        for look, judge in enumerate(trials)
        for need in (judge, *plan.trials[judge].needs)
    }
    return lambda result: asked.get(result.trial, -1)
