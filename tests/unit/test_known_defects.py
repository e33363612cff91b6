"""Defects of published attack code, built in again one by one: the program notices each of them.

A trainer that never trains, warm-up counted per process, a rate multiplied by itself, a mask that
is silently dense, an optimiser without parameters, seeds that overwrite each other, first rows
taken for random ones.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.specs import plan_of
from threatspec.attacks import ATTACKS, Attack, training_rows
from threatspec.attacks.none import NoAttack
from threatspec.claims._evidence import CellEvidence, CellState
from threatspec.claims._liveness import departure, liveness
from threatspec.claims._models import Truth
from threatspec.errors import ThreatspecError
from threatspec.records import (
    ArtefactStore,
    Cell,
    Execution,
    Procedure,
    Realised,
    Spend,
    Stream,
    Trial,
    TrialKind,
    TrialResult,
    TrialStatus,
)
from threatspec.runners._executor import Executor
from threatspec.subjects._resident import ResidentSubject
from threatspec.training import (
    TRAINERS,
    Hyperparameters,
    MaskRequest,
    MaskUse,
    Meter,
    TrainingJob,
    TrainingPolicy,
    Trajectory,
    _transformers,
)
from threatspec.training._replay import in_words, realised_differences, schedule_departure
from threatspec.training._trainers import Backend

SOURCE = "specimen/restricted#attack_train"
KNOBS: dict[str, Any] = {"lr": 1e-4, "steps": 4, "batch_size": 4}


@pytest.fixture(scope="module")
def subject() -> ResidentSubject:
    return ResidentSubject.load("specimen:shallow", threads=1)


@pytest.fixture
def store(tmp_path: Path) -> ArtefactStore:
    return ArtefactStore(tmp_path)


def attacked(
    store: ArtefactStore,
    trainer: str,
    kind: str = "full-finetune",
    config: dict[str, Any] = KNOBS,
    seed: int = 0,
) -> TrialResult:
    """An attack as a worker runs it; it shares its store with all others."""
    data = {"harmful": {"source": SOURCE, "n": 10}}
    streams = ATTACKS.get(kind).streams
    seeds = {stream.value: seed for stream in streams}
    work = {"attack": kind, "config": config, "data": data, "seeds": seeds, "trainer": trainer}
    trial = Trial(
        id=f"attack-{seed}", kind=TrialKind.ATTACK, subject="specimen:shallow", needs=(), work=work
    )
    return Executor(store, Path(), Execution()).run(trial, {})


def trained(
    subject: ResidentSubject,
    store: ArtefactStore,
    backend: str = "transformers",
    mask: MaskUse | None = None,
    **settings: Any,
) -> tuple[Hyperparameters, Realised]:
    """A job as an attack asks for it, and what really happened."""
    hyper = Hyperparameters(**{"lr": 1e-4, "steps": 20, "batch_size": 4, **settings})
    rows = training_rows(SOURCE, Path())[:10]
    job = TrainingJob(rows=rows, hyperparameters=hyper, seeds={Stream.ORDER: 1}, mask=mask)
    trainer = TRAINERS.get(backend).on(subject, store)
    [done] = trainer.train([job], TrainingPolicy(), Meter())
    return hyper, done.realised


def judged(realised: Sequence[Realised], state: CellState = CellState.DONE) -> tuple[Truth, str]:
    """What a verdict makes of an attack on the control that left this behind."""
    return liveness(PROCEDURE, [evidence(realised, state)])


def evidence(realised: Sequence[Realised], state: CellState = CellState.DONE) -> CellEvidence:
    cell = Cell(
        id="cell-0", procedure="proc-0", subject="specimen:shallow", replicate=0, seeds={},
        attack="attack-0", measures={},
    )  # fmt: skip
    return CellEvidence(cell, state, {}, Spend(), tuple(realised))


PROCEDURE = Procedure(
    id="proc-0", name="full-finetune", attack="full-finetune", card=None, config=KNOBS,
    adversary="tuner", data={"harmful": {"source": SOURCE, "n": 10}}, named=True,
    deterministic=False, trainer="resident", runs=(4,),
)  # fmt: skip


def test_a_trainer_without_a_defect_is_alive(store: ArtefactStore) -> None:
    """So that the others fail for their own reasons."""
    for trainer in ("resident", "transformers"):
        result = attacked(store, trainer)
        assert result.status is TrialStatus.DONE, result.message
        assert judged(result.realised) == (Truth.TRUE, "")
        assert departure(PROCEDURE, evidence(result.realised)) == ""


# the trainer that never trains


class Idle(Backend):
    """Defines everything, and calls nothing: what comes back are the weights as they were."""

    kind = "idle"
    says = "never trains"

    def on(self, subject: Any, store: ArtefactStore) -> Any:
        return self

    def train(self, jobs: Any, policy: Any, meter: Any) -> list[Trajectory]:
        nothing = Realised(
            backend="idle", steps=0, rows=10, trainable=7, lr=(), loss=(), loss_tokens=(),
            grad_norm=(), weight_delta=0.0, probe_before=1.0, probe_after=1.0,
        )  # fmt: skip
        from threatspec.subjects import WeightTamper

        same = WeightTamper(artefact="art-0", form="dense")
        return [Trajectory({0: same}, nothing, Spend())]


def test_a_trainer_that_never_trains(store: ArtefactStore, monkeypatch: pytest.MonkeyPatch) -> None:
    TRAINERS.names()
    monkeypatch.setitem(TRAINERS._items, "idle", Idle())
    result = attacked(store, "idle")
    if result.status is TrialStatus.DONE:
        assert judged(result.realised) == (Truth.FALSE, "no training step was executed")
        found = departure(PROCEDURE, evidence(result.realised))
        assert found == "0 of 4 planned steps were executed"
    else:
        assert "0 of 4 planned steps" in result.message


# learning rates


def test_warm_up_that_is_counted_per_process(
    subject: ResidentSubject, store: ArtefactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"warmup_steps": 12, "schedule": "cosine"}
    _, sound = trained(subject, store, **settings)
    real = _transformers.arguments

    def on_four(hyper: Hyperparameters, accumulation: int) -> dict[str, Any]:
        """Each of four processes moves the schedule on at every step."""
        fewer = {"warmup_steps": hyper.warmup_steps // 4}
        return real(hyper.model_copy(update=fewer), accumulation)

    monkeypatch.setattr(_transformers, "arguments", on_four)
    hyper, found = trained(subject, store, **settings)
    assert schedule_departure(hyper, sound) == ""
    departs = schedule_departure(hyper, found)
    assert "departs from its schedule at 19 of 20 steps: step 2 used" in departs
    assert "the peak was reached after 3 steps, and the warm-up has 12" in departs
    [rate, *_] = realised_differences(sound, found)
    assert (rate.what, len(rate.steps)) == ("lr", 19)
    assert in_words([rate], "one process", "four")[0].startswith("learning rate: ")


def test_a_rate_that_is_multiplied_by_itself(
    subject: ResidentSubject, store: ArtefactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A schedule that wants a factor is given a rate, until the warm-up ends."""

    def squared(trainer: Any, num_training_steps: int, optimizer: Any = None) -> Any:
        def factor(step: int) -> float:
            return 1e-4 * step / 6 if step < 6 else 1.0

        trainer.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(trainer.optimizer, factor)
        trainer._created_lr_scheduler = True
        return trainer.lr_scheduler

    monkeypatch.setattr(_transformers._Fed, "create_scheduler", squared)
    hyper, found = trained(subject, store, warmup_steps=6)
    assert max(found.lr[:6]) < 1e-8
    assert found.lr[6:] == (1e-4,) * 14
    departs = schedule_departure(hyper, found)
    assert "departs from its schedule at 5 of 20 steps: step 2 used" in departs


def test_a_batch_that_is_of_another_setting(
    subject: ResidentSubject, store: ArtefactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows come in the batches of a simulated attack, whatever batch the attack was asked for."""
    _, sound = trained(subject, store)
    real = _transformers.batches

    def of_one(count: int, hyper: Hyperparameters, seed: int) -> Any:
        return real(count, hyper.model_copy(update={"batch_size": 1}), seed)

    monkeypatch.setattr(_transformers, "batches", of_one)
    hyper, found = trained(subject, store)
    assert hyper.batch_size == 4
    assert schedule_departure(hyper, found) == "", "no rate and no step tells"
    differences = {one.what: one for one in realised_differences(sound, found)}
    assert len(differences["loss_tokens"].steps) == 20
    assert 3 < sum(sound.loss_tokens) / sum(found.loss_tokens) < 5


def test_a_run_that_stops_early(subject: ResidentSubject, store: ArtefactStore) -> None:
    hyper, found = trained(subject, store, "resident")
    more = hyper.model_copy(update={"steps": 25})
    assert schedule_departure(more, found) == "20 of 25 planned steps were executed"


# masks


@pytest.mark.parametrize("backend", ["resident", "transformers"])
def test_a_mask_that_is_not_there_is_no_dense_training(
    subject: ResidentSubject, store: ArtefactStore, backend: str
) -> None:
    missing = MaskUse(artefact="art-0123456789abcdef", mode="only")
    with pytest.raises(ThreatspecError) as caught:
        trained(subject, store, backend, missing)
    assert caught.value.code in {"TS-RECORDS", "TS-TRIAL-ERROR"}


@pytest.mark.parametrize("value", [True, False], ids=["everything", "nothing"])
def test_a_mask_of_everything_or_nothing_is_no_mask(
    subject: ResidentSubject, store: ArtefactStore, value: bool
) -> None:
    named = dict(subject.model.named_parameters())
    whole = {name: torch.full(p.shape, value) for name, p in named.items()}
    for mode in ("only", "freeze"):
        with pytest.raises(ThreatspecError) as caught:
            trained(subject, store, "resident", MaskUse(artefact=store.save(whole), mode=mode))
        assert caught.value.code == "TS-MASK"


def test_a_mask_that_chooses_nothing_is_not_made(
    subject: ResidentSubject, store: ArtefactStore
) -> None:
    from threatspec.training._masks import make_mask

    weights = {n: p.detach().clone() for n, p in subject.model.named_parameters()}
    request = MaskRequest(method="largest-change", share=0.1, source=store.save(weights))
    with pytest.raises(ThreatspecError) as caught:  # nothing has moved: nothing is largest
        make_mask(subject, request, store)
    assert caught.value.code == "TS-MASK"


# optimisers


def test_an_optimiser_without_parameters(
    subject: ResidentSubject, store: ArtefactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def empty(trainer: Any, model: Any = None) -> Any:
        trainer.optimizer = torch.optim.AdamW([{"params": []}, {"params": []}])
        return trainer.optimizer

    monkeypatch.setattr(_transformers._Fed, "create_optimizer", empty)
    with pytest.raises(ThreatspecError, match="the optimizer got none"):
        trained(subject, store)


def test_an_optimiser_with_the_parameters_of_another_model(
    subject: ResidentSubject, store: ArtefactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stale(trainer: Any, model: Any = None) -> Any:
        copies = [p.detach().clone().requires_grad_() for p in trainer.model.parameters()]
        trainer.optimizer = torch.optim.AdamW(copies, lr=1e-4)
        return trainer.optimizer

    monkeypatch.setattr(_transformers._Fed, "create_optimizer", stale)
    result = attacked(store, "transformers")
    assert result.status is TrialStatus.DONE, result.message
    assert judged(result.realised) == (Truth.FALSE, "no weight moved")


# seeds and rows


def test_seeds_do_not_overwrite_each_other(store: ArtefactStore) -> None:
    results = [attacked(store, "resident", seed=seed) for seed in range(3)]
    names = [name for result in results for name in result.artefacts]
    assert len(set(names)) == 3
    first = next(iter(store.load(names[0])))
    assert len({store.load(name)[first].numpy().tobytes() for name in names}) == 3


def test_replicates_of_a_plan_share_no_trial_and_no_seed(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, {"claims.0.seeds": {"rule": "each", "replicates": 5}})
    cells = [
        cell for cell in plan.cells.values() if cell.attack and cell.subject == "specimen:deep"
    ]
    assert len(cells) == 5
    assert len({cell.attack for cell in cells}) == 5
    for stream in (Stream.ORDER, Stream.DATA_SUBSET, Stream.TRAIN):
        assert len({cell.seeds[stream] for cell in cells}) == 5


class Watching(NoAttack):
    """Sees its rows."""

    kind = "watching"
    uses_rows = True
    streams = frozenset({Stream.DATA_SUBSET})
    seen: Sequence[str] = ()

    def run(self, context: Any, config: Any) -> Any:
        Watching.seen = tuple(row.id for row in context.rows)
        return ()
        yield


def drawn(store: ArtefactStore, seed: int) -> tuple[str, ...]:
    assert attacked(store, "resident", "watching", {}, seed).status is TrialStatus.DONE
    return tuple(Watching.seen)


def test_rows_are_a_random_sample_and_not_the_first(
    store: ArtefactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    ATTACKS.names()
    watching: Attack = Watching()
    monkeypatch.setitem(ATTACKS._items, "watching", watching)
    every = [row.id for row in training_rows(SOURCE, Path())]
    samples = [drawn(store, seed) for seed in range(60)]
    assert all(len(set(sample)) == 10 and set(sample) <= set(every) for sample in samples)
    assert len({frozenset(sample) for sample in samples}) == 60
    assert all(set(sample) != set(every[:10]) for sample in samples)
    # 60 samples of 10 out of 80: a row is missed by all of them with a chance of 0.03 %
    assert set(every) == {row for sample in samples for row in sample}
    random.seed(1)
    assert drawn(store, 7) == samples[7], "the seed alone decides"
