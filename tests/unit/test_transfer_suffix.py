"""Words that are found on a model of the adversary's own and sent to another one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.hosted_server import HostedServer, serving
from tests.support.specs import load, plan_of, problems_of
from threatspec import api
from threatspec.attacks import ATTACKS
from threatspec.campaign import compile_plan
from threatspec.records import Budget, Ledger, Outcome, Stream, TrialResult, TrialStatus
from threatspec.runners import LocalProfile
from threatspec.testing._bench import Bench

KNOBS: dict[str, Any] = {"steps": 3, "candidates": 6, "length": 3, "prompts": 2, "target": 4}
ATTACK = "adversaries.tuner.attacks"
OWNS = "adversaries.tuner.owns"
TRANSFER = {"use": "transfer-suffix", **KNOBS}


def searched(
    folder: Path, subject: str, kind: str, budget: Budget | None = None, **knobs: Any
) -> TrialResult:
    """What a search leaves and spends, with seeds that are always the same."""
    attack = ATTACKS.get(kind)
    config = attack.Config(**KNOBS, **knobs).model_dump(mode="json")
    rows = {"harmful": {"source": "specimen/restricted#attack_train", "n": 4}}
    seeds = {Stream.DATA_SUBSET: 0, Stream.TRAIN: 0}
    return Bench(folder, subject).attack(kind, config, rows, seeds, budget)


@pytest.mark.parametrize(
    ("method", "kind"), [("gradient", "gcg-suffix"), ("random", "random-suffix")]
)
def test_the_search_is_that_of_its_method_on_the_surrogate(
    tmp_path: Path, method: str, kind: str
) -> None:
    """Whatever the subject is; and no prompt of it is a query, though the work is charged."""
    own = searched(tmp_path, "specimen:shallow", kind)
    for subject in ("specimen:shallow", "specimen:deep"):
        found = searched(
            tmp_path, subject, "transfer-suffix", method=method, surrogate="specimen:shallow"
        )
        assert found.status is TrialStatus.DONE, found.message
        [words], [wanted] = found.tamper["tampers"], own.tamper["tampers"]
        assert words["artefact"] == wanted["artefact"]
        assert found.optimised == own.optimised
        assert found.spend.flops == own.spend.flops > 0
        assert (found.spend.queries, own.spend.queries > 0) == (0, True)
    other = searched(
        tmp_path, "specimen:shallow", "transfer-suffix", method=method, surrogate="specimen:deep"
    )
    assert other.optimised != own.optimised


def test_a_budget_of_queries_does_not_stop_it_and_one_of_work_does(tmp_path: Path) -> None:
    none = searched(tmp_path, "specimen:deep", "transfer-suffix", Budget(queries=0),
                    surrogate="specimen:shallow")  # fmt: skip
    assert none.status is TrialStatus.DONE
    little = searched(tmp_path, "specimen:deep", "transfer-suffix", Budget(flops=1e6),
                      surrogate="specimen:shallow")  # fmt: skip
    assert little.status is TrialStatus.OVER_BUDGET


def test_a_surrogate_that_is_the_subject_is_searched_as_it_was_released(tmp_path: Path) -> None:
    """What is mounted on the subject is not on the adversary's own copy."""
    from threatspec.records import ArtefactStore, Execution, Trial, TrialKind
    from threatspec.runners._executor import Executor

    trial = Trial(id="t", kind=TrialKind.ATTACK, subject="specimen:shallow", needs=(), work={})
    executor = Executor(ArtefactStore(tmp_path), tmp_path, Execution())
    subject = executor.subject("specimen:shallow")
    assert executor._other(trial, "specimen:shallow") is not subject
    assert executor._other(trial, "specimen:deep") is executor.subject("specimen:deep")


@pytest.mark.parametrize(
    ("owns", "code", "why"),
    [
        ({}, "TS-ACCESS", "owns none"),
        ({"surrogate": "endpoint:http://127.0.0.1:9/v1#m"}, "TS-ACCESS", "gradients, logits"),
        ({"surrogate": "specimen:nothing"}, "TS-MODEL-MISSING", "nothing"),
        ({"surrogate": "path:somewhere"}, "TS-MODEL-MISSING", "absolute"),
    ],
)
def test_a_surrogate_that_cannot_be_searched_on_is_refused(
    tmp_path: Path, owns: dict[str, str], code: str, why: str
) -> None:
    problems = problems_of(tmp_path, {ATTACK: [TRANSFER], OWNS: owns})
    assert [(p.code, why in p.message) for p in problems] == [(code, True)]


def test_another_surrogate_is_another_trial(tmp_path: Path) -> None:
    def attacked(surrogate: str) -> set[str]:
        changes = {ATTACK: [TRANSFER], OWNS: {"surrogate": surrogate}}
        plan = plan_of(tmp_path, changes)
        return {cell.attack for cell in plan.cells.values() if cell.attack}

    first, other = attacked("specimen:undefended"), attacked("specimen:shallow")
    assert first
    assert not first & other


def test_no_adversary_makes_it_unasked(tmp_path: Path) -> None:
    changes = {ATTACK: ["prefill"], OWNS: {"surrogate": "specimen:undefended"}}
    plan = plan_of(tmp_path, changes)
    assert {p.attack for p in plan.procedures.values()} == {"prefill"}
    assert "transfer-suffix" in plan.claims[0].not_run


# behind an interface


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostedServer]:
    with serving(tmp_path_factory.mktemp("server")) as found:
        yield found


def hosted(server: HostedServer, attacks: list[Any]) -> dict[str, Any]:
    """The same weights twice: behind the server as the subject, loaded here as the control."""
    return {
        "subject": {"model": server.ref, "control": "specimen:shallow"},
        "measures": {"asr": {"benchmark": "specimen/restricted", "judge": "refusal-keywords"}},
        "adversaries.tuner.access": "chat-api",
        "adversaries.tuner.compute": {"flops": 1e12},
        ATTACK: attacks,
        OWNS: {"surrogate": "specimen:undefended"},
        "claims.0.seeds": {"replicates": 1},
    }


def test_a_subject_behind_an_interface_needs_no_gradients_for_it(
    tmp_path: Path, server: HostedServer
) -> None:
    problems = problems_of(tmp_path, hosted(server, [{"use": "gcg-suffix", **KNOBS}]), static=True)
    assert {problem.code for problem in problems} == {"TS-ACCESS"}
    plan = compile_plan(load(tmp_path, hosted(server, [TRANSFER])))
    assert {p.attack for p in plan.procedures.values()} == {"transfer-suffix"}
    poor = {**hosted(server, [TRANSFER]), "adversaries.tuner.compute": {"flops": 1e6}}
    [problem] = problems_of(tmp_path, poor)  # the work is the surrogate's, and is foreseen
    assert problem.code == "TS-BUDGET"


@pytest.mark.campaign
def test_words_go_to_a_subject_behind_an_interface_as_to_one_loaded_here(
    tmp_path: Path, server: HostedServer
) -> None:
    loaded = load(tmp_path, hosted(server, [TRANSFER]))
    api.run(loaded.path, out=tmp_path / "run", runner=LocalProfile(workers=1))
    ledger = Ledger.open(tmp_path / "run")
    results, plan = ledger.results(), ledger.plan
    assert {one.status for one in results.values()} == {TrialStatus.DONE}
    attacks = [one for one in results.values() if one.optimised]
    assert len(attacks) == 2
    assert all(one.spend.queries == 0 < one.spend.flops for one in attacks)
    rows: dict[str, dict[str, Outcome]] = {}
    for cell in plan.cells.values():
        if cell.attack:
            read = [row for trial in cell.measures["asr"] for row in ledger.rows(trial)]
            rows[cell.subject.partition(":")[0]] = {row.item: row.outcome for row in read}
    both = rows["endpoint"].keys() & rows["specimen"].keys()  # a cell is read until it is settled
    assert len(both) > 10
    assert all(rows["endpoint"][item] == rows["specimen"][item] for item in both)
