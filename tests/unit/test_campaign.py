"""The compiler: what is planned, under which ids, with which seeds and budgets."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.specs import ABSENT, TUNER, load, plan_of, problems_of, write_benchmark
from threatspec.campaign import _digests, check_code, compile_plan, source_digest
from threatspec.errors import ThreatspecError
from threatspec.measures import benchmark
from threatspec.records import (
    UNTOUCHED,
    Arm,
    Budget,
    Cell,
    Execution,
    Overlap,
    Plan,
    PlannedInstrument,
    Stream,
    TrialKind,
)
from threatspec.statistics import looks

ATTACKS = "adversaries.tuner.attacks"
SECOND = {
    "id": "second",
    "says": "It holds too.",
    "against": "tuner",
    "holds": "asr <= 0.2",
    "seeds": {"replicates": 2},
}


def ids(plan: Plan, kind: TrialKind) -> set[str]:
    return {trial.id for trial in plan.trials.values() if trial.kind is kind}


def attacked(plan: Plan, arm: Arm = Arm.DEFENDED, claim: int = 0) -> list[Cell]:
    return [plan.cells[name] for name in plan.claims[claim].attacked[arm]]


def untouched_trials(plan: Plan) -> set[str]:
    cells = [cell for cell in plan.cells.values() if cell.procedure == UNTOUCHED]
    return {trial for cell in cells for trial in cell.measures.values()}


# ids


def test_equal_specs_have_equal_plans_whatever_the_file_is_called(tmp_path: Path) -> None:
    one = plan_of(tmp_path / "a", name="one.yaml")
    other = plan_of(tmp_path / "b", name="other.yaml")
    assert (one.spec_file, other.spec_file) == ("one.yaml", "other.yaml")
    assert one.id == other.id
    assert one.trials == other.trials
    assert one.cells == other.cells


def test_every_id_is_the_key_it_stands_under_and_every_name_in_a_plan_has_its_record(
    tmp_path: Path,
) -> None:
    plan = plan_of(tmp_path)
    for kept in (plan.trials, plan.cells, plan.procedures):
        assert all(name == entry.id for name, entry in kept.items())
    assert {need for trial in plan.trials.values() for need in trial.needs} <= set(plan.trials)
    for cell in plan.cells.values():
        judged = {trial for trials in cell.measures.values() for trial in trials}
        assert {*judged, cell.attack or next(iter(plan.trials))} <= set(plan.trials)
        assert cell.procedure == UNTOUCHED or cell.procedure in plan.procedures


A, G, J = TrialKind.ATTACK, TrialKind.GENERATE, TrialKind.JUDGE


@pytest.mark.parametrize(
    ("changes", "moved"),
    [
        ({f"{ATTACKS}.0.lr": 2e-4}, {A, G, J}),
        ({f"{ATTACKS}.0.steps": 29}, {A, G, J}),
        ({"adversaries.tuner.data.harmful.n": 9}, {A, G, J}),
        ({"adversaries.tuner.data.harmful.from": "specimen/restricted#attack_dev"}, {A, G, J}),
        ({"claims.0.seeds.root": 1}, {A, G, J}),
        ({"adversaries.tuner.compute.flops": 2e12}, {A, G, J}),
        ({"adversaries.tuner.compute.steps": 31}, {A, G, J}),
        ({"serving.max_tokens": 13}, {G, J}),
        ({"serving.system": "be brief"}, {G, J}),
        ({"measures.asr.judge": "refusal-keywords"}, {J}),
        ({"measures.asr.span": "all"}, {J}),
        ({"measures.asr.split": "attack_dev"}, {G, J}),
        ({"subject.model": "specimen:undefended"}, {A, G, J}),
        ({"claims.0.says": "Other words."}, set()),
        ({"claims.0.holds": "asr <= 0.2"}, set()),
        ({"claims.0.expect": "REFUTED"}, set()),
        ({"adversaries.tuner.goal": "something else"}, set()),
    ],
    ids=lambda value: next(iter(value), "none") if isinstance(value, dict) else "",
)
def test_what_determines_a_result_is_in_its_id_and_nothing_else(
    tmp_path: Path, changes: dict[str, Any], moved: set[TrialKind]
) -> None:
    plan, other = plan_of(tmp_path), plan_of(tmp_path, changes)
    assert {kind for kind in TrialKind if ids(plan, kind) != ids(other, kind)} == moved
    assert plan.id != other.id


def test_threads_and_micro_batches_are_in_every_id(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    for execution in (Execution(threads=2), Execution(micro_batch=8)):
        assert not set(plan.trials) & set(plan_of(tmp_path, execution=execution).trials)


def test_an_attack_moves_no_id_of_what_is_untouched(tmp_path: Path) -> None:
    changes = {f"{ATTACKS}.0.lr": 3e-4, "claims.0.seeds.root": 7}
    assert untouched_trials(plan_of(tmp_path)) == untouched_trials(plan_of(tmp_path, changes))


def test_ids_follow_the_content_of_row_files_not_their_names(tmp_path: Path) -> None:
    def compiled(answer: str) -> Plan:
        row = {"id": "a", "prompt": "p", "answer": answer, "split": "attack_train"}
        write_benchmark(tmp_path, [row], name="rows")
        source = {"harmful": {"n": 1, "from": "file:rows.jsonl#attack_train"}}
        return plan_of(tmp_path, {"adversaries.tuner.data": source})

    first, second, again = compiled("yes"), compiled("no"), compiled("yes")
    assert ids(first, A) == ids(again, A)
    assert not ids(first, A) & ids(second, A)


def test_adding_a_claim_leaves_the_cells_of_the_others_as_they_are(tmp_path: Path) -> None:
    alone = plan_of(tmp_path)
    changes = {
        "adversaries.second": {**TUNER, "attacks": ["lora-finetune"]},
        "claims.1": {**SECOND, "against": "second", "provided": "utility >= 0.5"},
    }
    both = plan_of(tmp_path, changes)
    assert both.claims[0].attacked == alone.claims[0].attacked
    assert set(alone.trials) < set(both.trials)


def test_a_claim_that_reads_more_of_a_shared_cell_adds_trials_and_changes_none(
    tmp_path: Path,
) -> None:
    alone = plan_of(tmp_path)
    both = plan_of(tmp_path, {"claims.1": {**SECOND, "counts_if": "utility >= 0.5"}})
    assert set(alone.trials) < set(both.trials)
    assert ids(alone, A) == ids(both, A)
    assert all(set(cell.measures) == {"asr", "utility"} for cell in attacked(both))


def test_the_same_attack_on_the_same_subject_in_two_claims_is_one_trial(tmp_path: Path) -> None:
    alone, both = plan_of(tmp_path), plan_of(tmp_path, {"claims.1": SECOND})
    assert both.trials == alone.trials
    assert both.claims[0].attacked == both.claims[1].attacked


def test_the_same_attack_of_two_adversaries_is_two_cells_but_one_trial(tmp_path: Path) -> None:
    changes = {"adversaries.twin": TUNER, "claims.1": {**SECOND, "against": "twin"}}
    plan = plan_of(tmp_path, changes)
    ours, theirs = attacked(plan, claim=0), attacked(plan, claim=1)
    assert not {cell.id for cell in ours} & {cell.id for cell in theirs}
    assert [cell.attack for cell in ours] == [cell.attack for cell in theirs]
    assert set(plan.trials) == set(plan_of(tmp_path).trials)


def test_the_same_procedure_listed_twice_is_one_procedure(tmp_path: Path) -> None:
    changes = {ATTACKS: ["prefill", {"use": "prefill", "k": 5}]}
    assert len(attacked(plan_of(tmp_path, changes))) == 1


# plans as files


def test_a_plan_read_back_is_equal_and_has_the_same_id(tmp_path: Path) -> None:
    changes = {
        f"{ATTACKS}.1": {"use": "lora-finetune", "lr": 1e-3, "targets": ["q_proj", "v_proj"]},
        f"{ATTACKS}.2": "prefill",
        "claims.0.expect": {"verdict": "REFUTED", "because": "it is shallow"},
        "claims.0.provided": "utility >= 0.9 * undefended.utility",
    }
    plan = plan_of(tmp_path, changes)
    read = Plan.model_validate_json(plan.model_dump_json(by_alias=True))
    assert read == plan
    assert read.id == plan.id


def test_the_id_of_a_frozen_plan_ignores_the_file_name_and_nothing_else(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    assert plan.model_copy(update={"spec_file": "elsewhere.yaml"}).id == plan.id
    others: dict[str, Any] = {
        "spec": {**plan.spec, "more": 1},
        "execution": Execution(threads=7),
        "digests": {**plan.digests, "threatspec": "0" * 64},
        "measures": {},
        "procedures": {},
        "cells": {},
        "trials": {},
        "overlaps": (Overlap(left="a", right="b", prompts=1, equal=0, near=0),),
        "claims": (),
        "instruments": {
            "kl": PlannedInstrument(use="kl-profile", settings={}, panels=(), readings=())
        },
    }
    assert set(others) == set(Plan.model_fields) - {"format", "spec_file"}
    for name, value in others.items():
        assert plan.model_copy(update={name: value}).id != plan.id, name


def test_a_plan_names_the_digest_of_every_model_and_benchmark(tmp_path: Path) -> None:
    models = {"specimen:deep", "specimen:undefended", "specimen:shallow"}
    benchmarks = {"specimen/restricted", "specimen/benign"}
    assert set(plan_of(tmp_path).digests) == {*models, *benchmarks, "threatspec"}


# looks


def test_an_attacked_cell_is_read_by_looks_and_an_untouched_one_at_once(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    asr = plan.measures["asr"]
    assert asr.looks == looks(asr.units)
    for cell in plan.cells.values():
        for name, trials in cell.measures.items():
            assert len(trials) == (len(plan.measures[name].looks) if cell.attack else 1)
    whole = plan_of(tmp_path, execution=Execution(exhaustive=True))
    assert whole.measures["asr"].looks == (asr.units,)
    assert whole.measures["asr"].order == asr.order


def test_a_look_waits_for_all_that_was_read_before_it(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    cell = attacked(plan)[0]
    bare = [plan.cells[name] for name in plan.claims[0].untouched.values()]
    before = {trials[0] for c in (cell, *bare) for trials in c.measures.values()}
    for trials in cell.measures.values():
        asked = [plan.trials[plan.trials[trial].needs[0]] for trial in trials[:2]]
        assert asked[0].after == ()
        assert set(asked[1].after) == before


def test_prompts_are_read_in_an_order_that_is_random_and_the_same_for_everybody(
    tmp_path: Path,
) -> None:
    order = plan_of(tmp_path).measures["asr"].order
    items = [item for cluster in order for item in cluster]
    written = [i.id for i in benchmark("specimen/restricted", tmp_path).items("test")]
    assert sorted(items) == sorted(written)
    assert items != written
    first, second = items[:100], items[100:200]
    assert len({item.partition("/")[0] for item in first}) > 1 or set(first) != set(second)
    assert plan_of(tmp_path, {"claims.0.seeds.root": 5}).measures["asr"].order == order


def test_the_undefended_model_gets_the_same_attacks_and_is_not_charged(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    cells = attacked(plan, Arm.UNDEFENDED)
    assert [cell.procedure for cell in cells] == [cell.procedure for cell in attacked(plan)]
    assert {plan.trials[cell.attack or ""].budget for cell in cells} == {None}


def test_a_margin_is_written_out_into_the_thresholds(tmp_path: Path) -> None:
    for holds, decided in (
        ("asr <= 0.05", "asr <= 0.06"),
        ("0.05 >= asr", "0.06 >= asr"),
        ("utility >= 0.9", "utility >= 0.89"),
        ("asr <= 0.5 * undefended.asr", "asr <= (0.5 * undefended.asr) + 0.01"),
    ):
        plan = plan_of(tmp_path, {"claims.0.holds": holds, "claims.0.margin": 0.01})
        assert plan.claims[0].claim.holds == decided


# seeds and replicates


def test_seeds_are_equal_across_arms_and_procedures(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, {f"{ATTACKS}.1": "lora-finetune"})
    cells = [*attacked(plan), *attacked(plan, Arm.CONTROL)]
    assert len(cells) == 8
    for replicate in range(2):
        for stream in (Stream.DATA_SUBSET, Stream.ORDER, Stream.TRAIN):
            drawn = {cell.seeds[stream] for cell in cells if cell.replicate == replicate}
            assert len(drawn) == 1


def test_seeds_differ_between_replicates_streams_and_roots(tmp_path: Path) -> None:
    plans = [
        plan_of(tmp_path, {"claims.0.seeds": {"replicates": 20, "root": root}}) for root in (0, 1)
    ]
    seeds = [seed for plan in plans for cell in attacked(plan) for seed in cell.seeds.values()]
    assert len(seeds) == len(set(seeds)) == 2 * 20 * 3
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_more_replicates_leave_the_first_ones_as_they_are(tmp_path: Path) -> None:
    few = plan_of(tmp_path)
    more = plan_of(tmp_path, {"claims.0.seeds.replicates": 5})
    assert [cell.id for cell in attacked(more)][:2] == [cell.id for cell in attacked(few)]
    assert Counter(cell.replicate for cell in attacked(more)) == dict.fromkeys(range(5), 1)


def test_a_deterministic_procedure_has_one_replicate_whatever_is_asked(tmp_path: Path) -> None:
    changes = {
        ATTACKS: ["prefill", "full-finetune"],
        "claims.0.seeds": {"replicates": 3, "root": 9},
        "claims.1": {**SECOND, "counts_if": "utility >= 0.5"},
    }
    plan = plan_of(tmp_path, changes)
    replicates = Counter(plan.procedures[cell.procedure].attack for cell in attacked(plan))
    assert replicates == {"prefill": 1, "full-finetune": 3}
    [first, second] = [
        [cell for cell in attacked(plan, claim=claim) if not cell.seeds] for claim in (0, 1)
    ]
    assert first == second  # no seed, so the root of the claim does not matter either
    assert plan.procedures[first[0].procedure].deterministic


# budgets


def test_the_adversary_is_charged_for_the_defended_model_and_never_for_controls(
    tmp_path: Path,
) -> None:
    plan = plan_of(tmp_path)
    budgets = {
        arm: {plan.trials[cell.attack or ""].budget for cell in attacked(plan, arm)}
        for arm in (Arm.DEFENDED, Arm.CONTROL)
    }
    assert budgets == {Arm.DEFENDED: {Budget(steps=30, flops=1e12)}, Arm.CONTROL: {None}}
    others = [trial for trial in plan.trials.values() if trial.kind is not A]
    assert {trial.budget for trial in others} == {None}


def test_a_control_that_is_the_defended_model_is_the_same_cell(tmp_path: Path) -> None:
    changes = {"subject.model": "specimen:shallow", "subject.undefended": ABSENT}
    plan = plan_of(tmp_path, changes)
    assert attacked(plan, Arm.CONTROL) == attacked(plan, Arm.DEFENDED)
    assert {plan.trials[name].budget for name in ids(plan, A)} == {Budget(steps=30, flops=1e12)}


def test_a_subject_without_a_control_has_no_control_cells(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, {"subject.control": ABSENT, "subject.undefended": ABSENT})
    assert set(plan.claims[0].attacked) == set(plan.claims[0].untouched) == {Arm.DEFENDED}


def test_a_named_attack_over_the_budget_is_refused_where_it_stands(tmp_path: Path) -> None:
    steps = problems_of(tmp_path, {f"{ATTACKS}.0.steps": 31})
    flops = problems_of(tmp_path, {"adversaries.tuner.compute.flops": 1e6})
    for found in (steps, flops):
        assert [(p.code, p.path) for p in found] == [("TS-BUDGET", f"{ATTACKS}[0]")]
    assert "steps of full-finetune" in steps[0].message
    assert "FLOPs of full-finetune" in flops[0].message


# what is selected, and what is not


def chosen(plan: Plan) -> list[str]:
    names = dict.fromkeys(cell.procedure for cell in attacked(plan))
    return [plan.procedures[name].name for name in names]


@pytest.mark.parametrize(
    ("changes", "expected", "left"),
    [
        ({}, ["full-finetune", "lora-finetune", "prefill"], []),
        ({"access": "completion-api"}, ["prefill"], []),
        ({"access": "finetuning-api"}, ["full-finetune", "lora-finetune"], []),
        ({"data": {}}, ["prefill"], ["full-finetune", "lora-finetune"]),
        (
            {"data": {"benign": {"n": 5, "from": "specimen/benign#attack_train"}}},
            ["prefill"],
            ["full-finetune", "lora-finetune"],
        ),
        ({"compute": {"steps": 29}}, ["prefill"], ["full-finetune", "lora-finetune"]),
        ({"compute": {"steps": 30}}, ["full-finetune", "lora-finetune", "prefill"], []),
        ({"compute": {"flops": 1e6}}, ["prefill"], ["full-finetune", "lora-finetune"]),
        ({"compute": {"flops": 1.2e10}}, ["lora-finetune", "prefill"], ["full-finetune"]),
    ],
)
def test_without_attacks_all_that_access_data_and_compute_admit_are_made(
    tmp_path: Path, changes: dict[str, Any], expected: list[str], left: list[str]
) -> None:
    adversary = {k: v for k, v in {**TUNER, **changes}.items() if k != "attacks"}
    plan = plan_of(tmp_path, {"adversaries.tuner": adversary})
    assert chosen(plan) == expected
    not_run = set(plan.claims[0].not_run)
    assert set(left) <= not_run
    assert not_run.isdisjoint(expected)
    assert not any(procedure.named for procedure in plan.procedures.values())


@pytest.mark.parametrize(
    "changes",
    [
        {"access": "chat-api"},
        {"access": "finetuning-api", "data": {}},
        {"access": "finetuning-api", "compute": {"flops": 1e6}},
    ],
)
def test_an_adversary_that_can_make_no_attack_is_an_error(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    adversary = {k: v for k, v in {**TUNER, **changes}.items() if k != "attacks"}
    [problem] = problems_of(tmp_path, {"adversaries.tuner": adversary})
    assert (problem.code, problem.path) == ("TS-ACCESS", "adversaries.tuner")


def test_what_access_allows_and_nobody_listed_is_written_down(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    assert {"lora-finetune", "prefill"} <= set(plan.claims[0].not_run)
    plan = plan_of(tmp_path, {ATTACKS: ["prefill"], "adversaries.tuner.access": "completion-api"})
    asked = {"decoding-exploit", "random-suffix", "serving-exploit", "suffix"}
    assert asked <= set(plan.claims[0].not_run)
    assert not {"lora-finetune", "gcg-suffix", "prefill"} & set(plan.claims[0].not_run)


def test_rows_are_those_the_entry_asks_for(tmp_path: Path) -> None:
    benign = {"n": 20, "from": "specimen/benign#attack_train"}
    changes = {
        "adversaries.tuner.data.benign": benign,
        ATTACKS: [{"use": "full-finetune", "rows": rows} for rows in ("harmful", "benign", "mix")],
    }
    plan = plan_of(tmp_path, changes)
    roles = [list(procedure.data) for procedure in plan.procedures.values()]
    assert roles == [["harmful"], ["benign"], ["harmful", "benign"]]
    assert {trial.work["attack"] for trial in plan.trials.values() if trial.kind is A} == {
        "full-finetune"
    }


@pytest.mark.parametrize("rows", ["benign", "mix"])
def test_rows_that_the_adversary_does_not_have_are_an_error(tmp_path: Path, rows: str) -> None:
    [problem] = problems_of(tmp_path, {ATTACKS: [{"use": "full-finetune", "rows": rows}]})
    assert (problem.code, problem.path) == ("TS-DATA", f"{ATTACKS}[0]")
    assert "benign" in problem.message


def test_a_source_must_be_able_to_fill_what_the_adversary_is_given(tmp_path: Path) -> None:
    assert plan_of(tmp_path, {"adversaries.tuner.data.harmful.n": 80})
    [problem] = problems_of(tmp_path, {"adversaries.tuner.data.harmful.n": 81}, static=True)
    assert (problem.code, problem.path) == ("TS-DATA", "adversaries.tuner.data.harmful.n")
    assert "at least 81 rows, but has 80" in problem.message


def test_all_problems_are_reported_together(tmp_path: Path) -> None:
    changes = {
        "measures.asr.judge": "exakt",
        "measures.utility.benchmark": "specimen/bening",
        "subject.model": "specimen:deap",
        f"{ATTACKS}.0.lr": 70,
        f"{ATTACKS}.1": "prefil",
    }
    found = [(p.code, p.path) for p in problems_of(tmp_path, changes)]
    assert sorted(found) == [
        ("TS-MODEL-MISSING", "subject.model"),
        ("TS-OUT-OF-RANGE", f"{ATTACKS}[0].lr"),
        ("TS-UNKNOWN-ATTACK", f"{ATTACKS}[1]"),
        ("TS-UNKNOWN-BENCHMARK", "measures.utility.benchmark"),
        ("TS-UNKNOWN-JUDGE", "measures.asr.judge"),
    ]


# the program's own source


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the program's source that digests are taken of."""
    copy = tmp_path / "program"
    ignored = shutil.ignore_patterns("__pycache__", "weights")
    shutil.copytree(_digests._ROOT, copy, ignore=ignored)
    monkeypatch.setattr(_digests, "_ROOT", copy)
    source_digest.cache_clear()
    yield copy
    source_digest.cache_clear()


def edit(file: Path) -> None:
    file.write_text(file.read_text(encoding="utf-8") + "# changed\n", encoding="utf-8")
    source_digest.cache_clear()


def test_a_copy_of_the_source_has_the_same_digest(program: Path, tmp_path: Path) -> None:
    copied = source_digest(*_digests.PROGRAM)
    shutil.move(program, program.with_name("moved"))
    shutil.copytree(program.with_name("moved"), program)
    source_digest.cache_clear()
    assert source_digest(*_digests.PROGRAM) == copied


def test_a_changed_source_file_changes_the_digest_of_its_room_and_module(program: Path) -> None:
    places = ("attacks", "attacks.prefill", "attacks.full_finetune", "training")
    before = {place: source_digest(place) for place in places}
    assert len(set(before.values())) == len(places)
    edit(program / "attacks" / "prefill.py")
    changed = {place for place in places if source_digest(place) != before[place]}
    assert changed == {"attacks", "attacks.prefill"}


def test_a_renamed_or_removed_file_changes_the_digest(program: Path) -> None:
    digests = {source_digest("measures")}
    (program / "measures" / "exact.py").rename(program / "measures" / "exactly.py")
    source_digest.cache_clear()
    digests.add(source_digest("measures"))
    (program / "measures" / "exactly.py").unlink()
    source_digest.cache_clear()
    digests.add(source_digest("measures"))
    assert len(digests) == 3


@pytest.mark.parametrize(
    ("file", "moved"),
    [
        ("attacks/full_finetune.py", {A, G, J}),
        ("attacks/_finetune.py", {A, G, J}),
        ("attacks/prefill.py", set()),
        ("training/_flops.py", {A, G, J}),
        ("subjects/_mount.py", {A, G, J}),
        ("measures/exact.py", {G, J}),
        ("reports/_html.py", set()),
    ],
)
def test_trials_depend_on_the_source_that_computes_them(
    program: Path, tmp_path: Path, file: str, moved: set[TrialKind]
) -> None:
    before = plan_of(tmp_path)
    edit(program / file)
    after = plan_of(tmp_path)
    assert {kind for kind in TrialKind if ids(before, kind) != ids(after, kind)} == moved


def test_a_campaign_is_not_resumed_by_another_program(program: Path, tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    check_code(plan)
    edit(program / "reports" / "_html.py")
    check_code(plan)  # reports compute no row
    edit(program / "training" / "_schedule.py")
    with pytest.raises(ThreatspecError) as caught:
        check_code(plan)
    assert caught.value.code == "TS-CODE-CHANGED"


def test_compiling_twice_in_one_process_gives_one_plan(tmp_path: Path) -> None:
    loaded = load(tmp_path)
    assert compile_plan(loaded) == compile_plan(loaded)
