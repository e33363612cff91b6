"""Chains: one attack made of several, on weights first, then on servings and requests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.specs import plan_of, problems_of
from threatspec.attacks import attack_of, parts_of
from threatspec.attacks._chain import ChainConfig
from threatspec.records import ArtefactStore, Execution, Plan, Procedure, TrialKind, TrialResult
from threatspec.runners._executor import Executor
from threatspec.schema import Capability

TUNE = {"use": "full-finetune", "steps": 3, "lr": 1e-4, "batch_size": 5}
PREFILL = {"use": "prefill", "k": 2}


def chained(*links: Any, **beside: Any) -> dict[str, Any]:
    return {"adversaries.tuner.attacks": [{"chain": list(links), **beside}]}


def procedure(plan: Plan) -> Procedure:
    [found] = plan.procedures.values()
    return found


def attacked(folder: Path, changes: dict[str, Any]) -> TrialResult:
    """Of the first attack of the defended subject."""
    plan = plan_of(folder, changes)
    trial = next(t for t in plan.trials.values()
                 if t.kind is TrialKind.ATTACK and t.subject == "specimen:deep")  # fmt: skip
    executor = Executor(ArtefactStore(folder / "artefacts"), folder, Execution())
    result = executor.run(trial, {})
    assert result.status == "done", result.message
    return result


def test_a_chain_is_one_procedure_of_one_kind(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, chained(TUNE, PREFILL))
    one = procedure(plan)
    assert one.attack == "full-finetune+prefill"
    assert one.name == "full-finetune steps=3 lr=0.0001 batch_size=5 + prefill k=2"
    assert (one.runs, one.trainer) == ((3,), "resident")
    assert [link["config"]["k"] for link in one.config["links"][1:]] == [2]
    assert parts_of(one.attack) == ["full-finetune", "prefill"]


def test_it_leaves_what_its_links_leave(tmp_path: Path) -> None:
    """The same seeds give bit-equal weights, whose artefacts are named by content."""
    both = attacked(tmp_path / "both", chained(TUNE, PREFILL))
    alone = attacked(tmp_path / "alone", {"adversaries.tuner.attacks": [TUNE]})
    left = weights(tmp_path / "both", both), weights(tmp_path / "alone", alone)
    assert left[0].keys() == left[1].keys()
    assert all(torch.equal(left[0][name], left[1][name]) for name in left[0])
    assert both.tamper is not None
    second = both.tamper["tampers"][1]
    assert (second["kind"], second["k"]) == ("prefill", 2)
    assert (both.spend.steps, both.spend.flops) == (alone.spend.steps, alone.spend.flops)


def weights(folder: Path, result: TrialResult) -> dict[str, torch.Tensor]:
    assert result.tamper is not None
    store = ArtefactStore(folder / "artefacts")
    return store.load(result.tamper["tampers"][0]["artefact"])


def test_a_second_training_starts_where_the_first_ended(tmp_path: Path) -> None:
    found = attacked(tmp_path, chained(TUNE, TUNE))
    first, second = found.realised
    assert second.probe_before == pytest.approx(first.probe_after, rel=1e-6)
    assert second.probe_after < first.probe_after < first.probe_before
    assert found.spend.steps == 6


def test_it_takes_the_access_of_all_its_links() -> None:
    chain = attack_of("full-finetune+prefill")
    assert frozenset({Capability.WEIGHTS_WRITE, Capability.PREFILL}) in chain.needs
    assert all(Capability.PREFILL in way or Capability.WEIGHTS_READ in way for way in chain.needs)
    assert chain.streams == attack_of("full-finetune").streams
    assert chain.uses_rows
    assert attack_of("serving-exploit+decoding-exploit").streams


@pytest.mark.parametrize(
    ("links", "code", "what"),
    [
        ([PREFILL, TUNE], "TS-CHAIN", "must follow the surfaces"),
        ([TUNE, "none"], "TS-CHAIN", "none does nothing"),
        ([TUNE, {**TUNE, "rows": "benign"}], "TS-CHAIN", "rows of the same roles"),
        ([TUNE, "prefil"], "TS-UNKNOWN-ATTACK", "prefill"),
        ([TUNE, {"use": "prefill", "k": 0}], "TS-OUT-OF-RANGE", "k must be"),
        ([TUNE], "TS-WRONG-TYPE", "chain"),
    ],
)
def test_what_cannot_be_chained(tmp_path: Path, links: list[Any], code: str, what: str) -> None:
    benign = {"n": 5, "from": "specimen/benign#attack_train"}
    changes = {**chained(*links), "adversaries.tuner.data.benign": benign}
    found = problems_of(tmp_path, changes)
    assert code in {one.code for one in found}
    assert any(what in one.message for one in found), found


def test_knobs_stand_at_the_links(tmp_path: Path) -> None:
    [found] = problems_of(tmp_path, chained(TUNE, PREFILL, k=3))
    assert (found.code, "stand at its attacks" in found.message) == ("TS-CHAIN", True)


def test_a_link_that_the_access_does_not_admit_is_told_where_it_stands(tmp_path: Path) -> None:
    changes = {**chained(TUNE, PREFILL), "adversaries.tuner.access": "finetuning-api"}
    [found] = problems_of(tmp_path, changes)
    assert (found.code, "prefill needs" in found.message) == ("TS-ACCESS", True)


def test_a_budget_bounds_the_whole_chain(tmp_path: Path) -> None:
    changes = {**chained(TUNE, TUNE), "adversaries.tuner.compute": {"flops": 2.5e9}}
    one = plan_of(tmp_path, {**chained(TUNE, TUNE), "adversaries.tuner.compute": {}})
    cost = max(cell.predicted.flops for cell in one.cells.values())
    changes["adversaries.tuner.compute"] = {"flops": cost * 0.75}
    assert {p.code for p in problems_of(tmp_path, changes)} == {"TS-BUDGET"}


def test_lists_are_searched_over_the_product(tmp_path: Path) -> None:
    links = [{**TUNE, "lr": [1e-4, 3e-4]}, {"use": "prefill", "k": [1, 2, 3]}]
    search = procedure(plan_of(tmp_path, chained(*links))).search
    assert search is not None
    assert {name: knob.choices for name, knob in search.space.items()} == {
        "0.lr": (1e-4, 3e-4),
        "1.k": (1, 2, 3),
    }
    assert search.configurations == 6


def test_a_knob_of_a_link_is_set_by_its_place() -> None:
    links = [{"attack": "full-finetune", "config": {"lr": 1e-4, "epochs": 3}},
             {"attack": "prefill", "config": {"k": 1}}]  # fmt: skip
    config = ChainConfig.model_validate({"links": links, "0.steps": 7, "1.k": 4})
    assert [link.config.model_dump().get("k") for link in config.links] == [None, 4]
    assert config.links[0].config.model_dump()["steps"] == 7
    assert config.links[0].config.model_dump()["epochs"] is None
    again = ChainConfig.model_validate_json(config.model_dump_json())
    assert again == config
