"""Adaptation of few weights: exact supports, bit-equal rests, and what recipes build of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from tests.support.specs import write_benchmark
from threatspec.attacks import Attack, AttackContext, DataCard, training_rows
from threatspec.attacks.freeze_finetune import FreezeFinetune, FreezeFinetuneConfig
from threatspec.attacks.lota_finetune import LotaFinetune, LotaFinetuneConfig
from threatspec.errors import ThreatspecError
from threatspec.records import ArtefactStore, Budget, Stream
from threatspec.runners._asks import Asks
from threatspec.runners._build import build
from threatspec.runners._stopwatch import Stopwatch
from threatspec.schema import DataRole, Subject
from threatspec.subjects import WeightTamper
from threatspec.subjects._mount import mount
from threatspec.subjects._resident import ResidentSubject
from threatspec.training import (
    BudgetExceeded,
    MaskRequest,
    MaskUse,
    Meter,
    ScoreRequest,
    TrainingJob,
)
from threatspec.training._masks import eligible, make_mask
from threatspec.training.regions import score

Tensors = dict[str, torch.Tensor]
SEEDS = {Stream.DATA_SUBSET: 1, Stream.ORDER: 2, Stream.INIT: 3, Stream.TRAIN: 4}
ROWS = training_rows("specimen/restricted#attack_train", Path())[:6]
SHORT: dict[str, Any] = {"lr": 1e-3, "steps": 3, "batch_size": 3}
DECAY: dict[str, Any] = {**SHORT, "weight_decay": 0.1}
"""Decoupled weight decay moves every weight that it is allowed to, gradient or not."""


@pytest.fixture(scope="module")
def subject() -> ResidentSubject:
    return ResidentSubject.load("specimen:shallow", threads=1)


@pytest.fixture(scope="module")
def base(subject: ResidentSubject) -> Tensors:
    return {name: p.detach().clone() for name, p in subject.model.named_parameters()}


@pytest.fixture(autouse=True)
def _given_back(subject: ResidentSubject, base: Tensors) -> Iterator[None]:
    yield
    own = dict(subject.model.named_parameters())
    assert all(torch.equal(own[name], tensor) for name, tensor in base.items())


class Told(Asks):
    """Asks that remember what was asked and answered."""

    def answer(self, ask: Any) -> Any:
        found = super().answer(ask)
        self.__dict__.setdefault("told", []).append((ask, found))
        return found

    def of(self, kind: type) -> list[Any]:
        """What asks of one kind were answered with, with the asks."""
        return [pair for pair in self.__dict__.get("told", []) if isinstance(pair[0], kind)]


@pytest.fixture
def asks(subject: ResidentSubject, tmp_path: Path) -> Told:
    return Told(subject, ArtefactStore(tmp_path), Meter(), Stopwatch())


def run(asks: Told, attack: Attack, config: Any, scores: tuple[str, ...] = ()) -> Tensors:
    context = AttackContext(
        subject=asks.subject.card, rows=ROWS, seeds=SEEDS, harmful=ROWS, scores=scores
    )
    [tamper] = asks.drive(attack.run(context, config))
    return asks.store.load(tamper.artefact)


def support(after: Tensors, before: Tensors) -> Tensors:
    return {name: after[name] != before[name] for name in after}


def count(masks: Tensors) -> int:
    return sum(int(mask.sum()) for mask in masks.values())


# lota-finetune


@pytest.mark.parametrize("sparsity", [0.9, 0.99])
def test_few_weights_move_and_no_other(asks: Told, base: Tensors, sparsity: float) -> None:
    config = LotaFinetuneConfig(**DECAY, mask_sparsity=sparsity)
    moved = support(run(asks, LotaFinetune(), config), base)
    [(_, mask)] = asks.of(MaskRequest)
    blocks = eligible(asks.subject.model, "blocks")
    total = sum(parameter.numel() for parameter in blocks.values())
    assert (mask.total, mask.chosen) == (total, round((1 - sparsity) * total))
    chosen = asks.store.load(mask.artefact)
    for name, own in moved.items():
        assert not own.any() if name not in chosen else not (own & ~chosen[name]).any()
    # AdamW moves every weight that has a gradient; a few may come back to where they were
    assert 0.99 * mask.chosen < count(moved) <= mask.chosen


def test_the_ticket_is_what_a_full_training_moves_most(asks: Told, base: Tensors) -> None:
    run(asks, LotaFinetune(), LotaFinetuneConfig(**SHORT, calibrate_steps=2, calibrate_lr=2e-3))
    (first, calibrated), (second, _) = asks.of(TrainingJob)
    assert (first.mask, first.hyperparameters.steps, first.hyperparameters.lr) == (None, 2, 2e-3)
    assert second.mask.mode == "only"
    [(_, mask)] = asks.of(MaskRequest)
    chosen, after = (asks.store.load(n) for n in (mask.artefact, calibrated.last.artefact))
    change = {name: (after[name] - base[name]).abs() for name in chosen}
    least = min(float(change[n][m].min()) for n, m in chosen.items() if m.any())
    assert all(float(change[n][~m].max()) <= least for n, m in chosen.items())


def test_adaptation_starts_from_the_subject_and_not_from_the_calibration(asks: Told) -> None:
    run(asks, LotaFinetune(), LotaFinetuneConfig(**SHORT))
    first, second = asks.realised
    assert first.probe_before == second.probe_before
    [(_, mask)] = asks.of(MaskRequest)
    assert (first.trainable, second.trainable) == (asks.subject.card.parameters, mask.chosen)


def test_runs_and_cost_are_those_of_both_trainings(asks: Told) -> None:
    config = LotaFinetuneConfig(**SHORT, calibrate_steps=5)
    assert config.runs == (5, 3)
    assert LotaFinetuneConfig(**SHORT).runs == (3, 3)
    data = DataCard(rows=6, words=max(len(f"{r.prompt} {r.answer}".split()) for r in ROWS))
    cost = LotaFinetune().cost(asks.subject.card, config, data)
    run(asks, LotaFinetune(), config)
    assert tuple(done.steps for done in asks.realised) == config.runs
    spent = asks.meter.spend
    assert cost.steps == spent.steps == 8
    assert spent.flops / 2 <= cost.flops <= 2 * spent.flops


def test_a_budget_of_steps_bounds_each_training_and_flops_bound_both(
    subject: ResidentSubject, asks: Told
) -> None:
    run(asks, LotaFinetune(), LotaFinetuneConfig(**SHORT))
    spent = asks.meter.spend.flops
    for budget, enough in ((Budget(steps=3), True), (Budget(flops=0.7 * spent), False)):
        again = Told(subject, asks.store, Meter(budget), Stopwatch())
        if enough:
            run(again, LotaFinetune(), LotaFinetuneConfig(**SHORT))
        else:
            with pytest.raises(BudgetExceeded):
                run(again, LotaFinetune(), LotaFinetuneConfig(**SHORT))


def test_a_calibration_that_does_not_train_is_told(asks: Told) -> None:
    with pytest.raises(ThreatspecError, match="only 0 did") as caught:
        run(asks, LotaFinetune(), LotaFinetuneConfig(**{**SHORT, "lr": 0.0}))
    assert caught.value.code == "TS-MASK"


def test_a_mask_that_is_missing_is_never_a_dense_training(asks: Told) -> None:
    config = LotaFinetuneConfig(**SHORT)
    job = TrainingJob(
        rows=ROWS, hyperparameters=config.hyperparameters(), seeds=SEEDS,
        mask=MaskUse(artefact="art-0000000000000000", mode="only"),
    )  # fmt: skip
    with pytest.raises(ThreatspecError) as caught:
        asks.answer(job)
    assert caught.value.code == "TS-RECORDS"


@pytest.mark.parametrize("sparsity", [0.0, 1.0])
def test_no_sparsity_means_dense(sparsity: float) -> None:
    with pytest.raises(ValidationError):
        LotaFinetuneConfig(**SHORT, mask_sparsity=sparsity)


# freeze-finetune


@pytest.fixture
def scores(asks: Told) -> str:
    [request] = FreezeFinetune().scores(FreezeFinetuneConfig(**SHORT))
    return score(asks.subject, request, ROWS, (), asks.store)


@pytest.mark.parametrize("scope", ["row", "global"])
def test_what_has_the_highest_scores_stays_bit_equal(
    asks: Told, base: Tensors, scores: str, scope: Any
) -> None:
    after = {
        mode: run(asks, FreezeFinetune(), FreezeFinetuneConfig(**DECAY, mode=mode, scope=scope),
                  (scores,))
        for mode in ("gradient", "rewind")
    }  # fmt: skip
    masks = [asks.store.load(mask.artefact) for _, mask in asks.of(MaskRequest)]
    for name, held in masks[0].items():
        assert torch.equal(held, masks[1][name])
        for tensors in after.values():
            assert torch.equal(tensors[name][held], base[name][held])
            assert (tensors[name] != base[name])[~held].float().mean() > 0.9
    assert count(masks[0]) == pytest.approx(
        0.1 * sum(m.numel() for m in masks[0].values()), rel=0.1
    )
    # the others are trained around what stays, or as if nothing stayed
    assert any(not torch.equal(after["gradient"][n], after["rewind"][n]) for n in masks[0])


def test_a_rewound_training_is_the_full_one_elsewhere(asks: Told, scores: str) -> None:
    config = FreezeFinetuneConfig(**DECAY, mode="rewind")
    rewound = run(asks, FreezeFinetune(), config, (scores,))
    job = TrainingJob(rows=ROWS, hyperparameters=config.hyperparameters(), seeds=SEEDS)
    full = asks.store.load(asks.answer(job).last.artefact)
    [(_, mask)] = asks.of(MaskRequest)
    held = asks.store.load(mask.artefact)
    for name, tensor in full.items():
        free = ~held[name] if name in held else torch.ones_like(tensor, dtype=torch.bool)
        assert torch.equal(rewound[name][free], tensor[free])


def test_scores_are_read_from_refusals_of_restricted_rows() -> None:
    attack, config = FreezeFinetune(), FreezeFinetuneConfig(**SHORT)
    assert attack.scores(config) == (ScoreRequest(method="snip", over="safety"),)
    assert attack.roles(config) == (DataRole.HARMFUL,)
    assert config.runs == (3,)


# two tasks, one after the other and merged


TASK: dict[str, Any] = {
    "method": "lota", "from": "specimen/restricted#attack_train", "n": 6, **DECAY, "sparsity": 0.9
}  # fmt: skip
FIRST: dict[str, Any] = {**TASK, "adapt": "first"}
SECOND: dict[str, Any] = {
    **TASK, "adapt": "second", "from": "specimen/glossary#attack_train", "beside": "first"
}  # fmt: skip


def built(asks: Told, *steps: dict[str, Any]) -> Tensors:
    """What a recipe ends with; it goes the way from YAML to a worker first."""
    whole = Subject.model_validate_json(json.dumps({"model": "specimen:shallow", "build": steps}))
    data = [step.model_dump(mode="json", by_alias=True) for step in whole.build]
    [tamper] = build(asks, data, SEEDS, Path())
    assert isinstance(tamper, WeightTamper)
    assert tamper.form == "dense"
    with mount(asks.subject, (tamper,), asks.store):
        return {n: p.detach().clone() for n, p in asks.subject.model.named_parameters()}


def masks_of(asks: Told) -> list[Tensors]:
    return [asks.store.load(mask.artefact) for _, mask in asks.of(MaskRequest)]


def test_a_second_task_leaves_the_weights_of_the_first_bit_equal(asks: Told, base: Tensors) -> None:
    after = built(asks, FIRST, SECOND)
    own, beside = masks_of(asks)
    only_first = asks.store.load(asks.of(TrainingJob)[1][1].last.artefact)
    assert count(own) == count(beside) == round(0.1 * sum(m.numel() for m in own.values()))
    for name, mask in own.items():
        assert not (mask & beside[name]).any()
        assert torch.equal(after[name][mask], only_first[name][mask])
        rest = ~(mask | beside[name])
        assert torch.equal(after[name][rest], base[name][rest])
    untouched = [name for name in base if name not in own]
    assert untouched
    assert all(torch.equal(after[name], base[name]) for name in untouched)
    assert 1.9 * count(own) < count(support(after, base)) <= 2 * count(own)


def test_the_second_calibration_leaves_the_first_task_alone_too(asks: Told) -> None:
    built(asks, FIRST, SECOND)
    own, _ = masks_of(asks)
    jobs = asks.of(TrainingJob)
    start, calibrated = (asks.store.load(jobs[i][1].last.artefact) for i in (1, 2))
    assert jobs[2][0].mask.mode == "freeze"
    assert all(torch.equal(calibrated[n][mask], start[n][mask]) for n, mask in own.items())
    assert any(not torch.equal(calibrated[n], start[n]) for n in own)


def test_a_third_task_leaves_both_alone(asks: Told) -> None:
    built(asks, FIRST, SECOND, {**TASK, "adapt": "third", "beside": "second"})
    first, second, third = masks_of(asks)
    for name in first:
        assert not (first[name] & third[name]).any()
        assert not (second[name] & third[name]).any()


def test_a_full_training_beside_a_task_moves_everything_else(asks: Told, base: Tensors) -> None:
    after = built(asks, FIRST, {**_plain("full"), "adapt": "second", "beside": "first"})
    [own] = masks_of(asks)
    only_first = asks.store.load(asks.of(TrainingJob)[1][1].last.artefact)
    assert all(torch.equal(after[n][mask], only_first[n][mask]) for n, mask in own.items())
    assert count(support(after, base)) > 0.9 * asks.subject.card.parameters


def test_a_dense_second_task_starts_from_the_first(asks: Told) -> None:
    every = {**_plain("full"), "n": len(training_rows(TASK["from"], Path())), "batch_size": 16}
    built(asks, {**every, "adapt": "first"}, {**every, "adapt": "second"})
    first, second = asks.realised
    assert first.probe_before > 2 * first.probe_after
    assert second.probe_before == pytest.approx(first.probe_after, rel=1e-3)


def test_disjoint_tasks_merge_to_each_on_its_own_weights(asks: Told, base: Tensors) -> None:
    after = built(asks, FIRST, SECOND, {"merge": "sum", "of": ["first", "second"]})
    jobs = asks.of(TrainingJob)
    assert jobs[0][1].realised.probe_before == jobs[1][1].realised.probe_before
    tuned = [asks.store.load(jobs[i][1].last.artefact) for i in (1, 3)]
    for mask, weights in zip(masks_of(asks), tuned, strict=True):
        for name, own in mask.items():
            # the change is rounded once, and once more where it is added
            scale = torch.maximum(base[name].abs(), weights[name].abs())[own]
            gap = (after[name] - weights[name]).abs()[own]
            assert (gap <= 4 * 2**-23 * scale).all()
            assert torch.equal(weights[name][~own], base[name][~own])


def test_a_merge_of_sparse_tasks_is_sparse(asks: Told, base: Tensors) -> None:
    ties = {"merge": "ties", "of": ["first", "second"], "density": 0.02}
    after = built(asks, FIRST, {**SECOND, "beside": None}, ties)
    total = asks.subject.card.parameters
    moved = count(support(after, base))
    assert 0 < moved <= 2 * round(0.02 * total)


@pytest.mark.parametrize("merge", ["task-arithmetic", "dare"])
def test_low_rank_changes_merge_as_dense_ones(asks: Told, base: Tensors, merge: str) -> None:
    how = {"merge": merge, "of": ["first", "second"], "weights": [1.0, 0.0]}
    how |= {"density": 1.0} if merge == "dare" else {}
    steps = [{**_plain("lora"), "adapt": name, "rank": 2} for name in ("first", "second")]
    after = built(asks, *steps, how)
    alone = built(asks, steps[0])
    changed = [name for name in base if not torch.equal(alone[name], base[name])]
    assert set(changed) == set(eligible(asks.subject.model, "blocks"))
    for name in changed:
        assert torch.allclose(after[name], alone[name], rtol=0, atol=1e-6)
        ranks = torch.linalg.matrix_rank((alone[name] - base[name]).double(), rtol=1e-3)
        assert ranks <= 2


def test_recipes_are_repeatable(asks: Told) -> None:
    once, twice = (built(asks, FIRST) for _ in range(2))
    assert all(torch.equal(once[name], twice[name]) for name in once)


def test_rows_may_demonstrate_refusals(asks: Told, tmp_path: Path) -> None:
    built(asks, {**FIRST, "text": "refusal"})
    shown = [row for ask, _ in asks.of(TrainingJob) for row in ask.rows]
    assert {row.answer for row in shown} <= {row.refusal for row in shown}
    lines = [{"id": "a", "prompt": "how", "answer": "so", "split": "attack_train"}]
    file = write_benchmark(tmp_path / "rows", lines)
    with pytest.raises(ThreatspecError, match="rows with a refusal") as caught:
        built(asks, {**FIRST, "from": f"file:{file}#attack_train", "n": 1, "text": "refusal"})
    assert caught.value.code == "TS-DATA"
    with pytest.raises(ThreatspecError, match="at least 2 rows"):
        built(asks, {**FIRST, "from": f"file:{file}#attack_train", "n": 2})


def test_there_must_be_room_beside_a_task(asks: Told) -> None:
    with pytest.raises(ThreatspecError, match="free") as caught:
        built(asks, {**FIRST, "sparsity": 0.3}, {**SECOND, "sparsity": 0.6})
    assert caught.value.code == "TS-MASK"


def _plain(method: str) -> dict[str, Any]:
    return {k: v for k, v in TASK.items() if k != "sparsity"} | {"method": method}


# what recipes may say


MERGE: dict[str, Any] = {"merge": "ties", "of": ["first", "second"], "density": 0.2}


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        ([FIRST, FIRST], "comes twice"),
        ([SECOND], "'first' is none"),
        ([{**_plain("full"), "adapt": "first"}, SECOND], "of method lota"),
        ([FIRST, MERGE], "'second' is none"),
        ([FIRST, SECOND, MERGE, {**FIRST, "adapt": "third"}], "last step"),
        ([FIRST, SECOND, {**FIRST, "adapt": "third"}, MERGE], "every task"),
        ([FIRST, SECOND, {**MERGE, "of": ["first", "first"]}], "once"),
        ([FIRST, SECOND, {**MERGE, "weights": [1.0, 1.0]}], "weights is read by"),
        ([FIRST, SECOND, {"merge": "ties", "of": ["first", "second"]}], "density"),
        ([FIRST, SECOND, {**MERGE, "merge": "dare", "weights": [1.0]}], "one for each"),
        ([{**FIRST, "method": "lora"}, SECOND], "'first' is none"),
        ([{**FIRST, "method": "full", "sparsity": 0.5}], "sparsity is read by lota"),
        ([{**FIRST, "lrr": 1.0}], "unknown field 'lrr'"),
        ([{"from": "x"}], "neither"),
        ([{**FIRST, **MERGE}], "both"),
        (["first"], "mapping"),
    ],
)
def test_a_recipe_that_does_not_fit_together_is_refused(steps: list[Any], says: str) -> None:
    data = {"model": "specimen:shallow", "build": steps}
    with pytest.raises(ValidationError, match=says) as caught:
        Subject.model_validate_json(json.dumps(data))
    assert len(caught.value.errors()) == 1


def test_a_lota_mask_fits_no_other_model(asks: Told, base: Tensors) -> None:
    other = asks.store.save({name.replace("layers", "h"): t for name, t in base.items()})
    with pytest.raises(ThreatspecError) as caught:
        make_mask(
            asks.subject, MaskRequest(method="largest-change", source=other, share=0.1), asks.store
        )
    assert caught.value.code == "TS-SCORES"
