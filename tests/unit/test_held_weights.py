"""Weights that a provider holds: coordinates are bit-identical whatever a customer trains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from threatspec.attacks import SAFEGUARD_SPLITS, training_rows
from threatspec.errors import ThreatspecError
from threatspec.records import ArtefactStore, Stream
from threatspec.runners._asks import Asks
from threatspec.runners._stopwatch import Stopwatch
from threatspec.safeguards import SAFEGUARDS, Fitted, SafeguardContext
from threatspec.subjects._resident import ResidentSubject
from threatspec.training import (
    Adapter,
    Hyperparameters,
    MaskUse,
    Meter,
    TrainingJob,
    TrainingPolicy,
    Trajectory,
)

SMALL: dict[str, Any] = {"steps": 3, "safety_rows": 4, "benign_rows": 4}
KNOBS: dict[str, dict[str, Any]] = {
    "lotto": {**SMALL, "sparsity": 0.6, "task_sparsity": 0.5},
    "region-freezing": {"share": 0.3},
}
LORA = Adapter(method="lora", options={"r": 2, "target_modules": "all-linear"})


@pytest.fixture(scope="module")
def subject() -> ResidentSubject:
    return ResidentSubject.load("specimen:shallow")


@pytest.fixture
def store(tmp_path: Path) -> ArtefactStore:
    return ArtefactStore(tmp_path)


def context(subject: ResidentSubject) -> SafeguardContext:
    sources = (f"specimen/{name}#safeguard_train" for name in ("restricted", "benign"))
    safety, benign = (training_rows(s, Path(), SAFEGUARD_SPLITS)[:8] for s in sources)
    seeds = dict.fromkeys(Stream, 3)
    return SafeguardContext(subject.card, safety, benign, seeds, subject.tokens, subject.text)


def fitted(subject: ResidentSubject, store: ArtefactStore, kind: str) -> tuple[Any, Fitted]:
    safeguard = SAFEGUARDS.get(kind)
    config = safeguard.Config(**KNOBS[kind])
    asks = Asks(subject, store, Meter(), Stopwatch())
    found = asks.drive(safeguard.fit(context(subject), config))
    policy = safeguard.training_policy(context(subject), config, found.provided)
    return policy, found


def customer(adapter: Adapter | None = None, mask: MaskUse | None = None) -> TrainingJob:
    rows = training_rows("specimen/restricted#attack_train", Path())[:6]
    hyper = Hyperparameters(lr=1e-3, steps=3, batch_size=6, adapter=adapter, weight_decay=0.1)
    return TrainingJob(rows=rows, hyperparameters=hyper, seeds=dict.fromkeys(Stream, 1), mask=mask)


def trained(
    subject: ResidentSubject, store: ArtefactStore, policy: TrainingPolicy, job: TrainingJob
) -> Trajectory:
    found = Asks(subject, store, Meter(), Stopwatch(), policy=policy).answer(job)
    assert isinstance(found, Trajectory)
    return found


@pytest.mark.parametrize("adapter", [None, LORA], ids=["weights", "adapter"])
@pytest.mark.parametrize("kind", KNOBS)
def test_held_coordinates_are_bit_identical_and_others_move(
    subject: ResidentSubject, store: ArtefactStore, kind: str, adapter: Adapter | None
) -> None:
    policy, found = fitted(subject, store, kind)
    held = store.load(found.provided["artefact"])
    job = customer(adapter)
    after = store.load(trained(subject, store, policy, job).last.artefact)
    free = store.load(trained(subject, store, TrainingPolicy(), customer()).last.artefact)
    own = dict(subject.model.named_parameters())
    kept = moved = 0
    for name, mask in held.items():
        before, mask = own[name].detach(), mask.bool()
        assert torch.equal(after[name][mask], before[mask]), name
        kept += int((free[name][mask] != before[mask]).sum())
        moved += int((after[name][~mask] != before[~mask]).sum())
    assert kept, "without the provider they would have moved"
    assert moved


def test_the_ticket_of_a_customer_is_disjoint_from_that_of_safety(
    subject: ResidentSubject, store: ArtefactStore
) -> None:
    policy, found = fitted(subject, store, "lotto")
    trained(subject, store, policy, customer())
    own, mode = policy.use()
    assert mode == "only"
    held, ticket = store.load(found.provided["artefact"]), store.load(own)
    assert not any(bool((held[name].bool() & ticket[name].bool()).any()) for name in ticket)
    room = sum(mask.numel() - int(mask.sum()) for mask in held.values())
    assert sum(int(mask.sum()) for mask in ticket.values()) == round(0.5 * room)


def test_every_customer_has_a_ticket_of_its_own(
    subject: ResidentSubject, store: ArtefactStore
) -> None:
    policy, _ = fitted(subject, store, "lotto")
    tickets = set()
    for seed in (1, 2):
        job = customer().model_copy(update={"seeds": dict.fromkeys(Stream, seed)})
        rows = training_rows("specimen/benign#attack_train", Path())[seed : seed + 6]
        trained(subject, store, policy, job.model_copy(update={"rows": rows}))
        tickets.add(policy.use()[0])
    assert len(tickets) == 2


@pytest.mark.parametrize("kind", KNOBS)
def test_a_customer_with_a_mask_of_its_own_is_refused(
    subject: ResidentSubject, store: ArtefactStore, kind: str
) -> None:
    policy, found = fitted(subject, store, kind)
    mask = MaskUse(artefact=found.provided["artefact"], mode="only")
    with pytest.raises(ThreatspecError, match="has a mask of its own") as caught:
        trained(subject, store, policy, customer(mask=mask))
    assert caught.value.code == "TS-MASK"


def test_a_mask_that_holds_nothing_is_an_error(
    subject: ResidentSubject, store: ArtefactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(KNOBS, "region-freezing", {"share": 1e-7, "scope": "global"})
    with pytest.raises(ThreatspecError, match="must choose some weights") as caught:
        fitted(subject, store, "region-freezing")
    assert caught.value.code == "TS-MASK"


@pytest.mark.parametrize("adapter", [None, LORA], ids=["weights", "adapter"])
def test_the_subject_is_given_back(
    subject: ResidentSubject, store: ArtefactStore, adapter: Adapter | None
) -> None:
    before = {n: p.detach().clone() for n, p in subject.model.named_parameters()}
    policy, _ = fitted(subject, store, "lotto")
    trained(subject, store, policy, customer(adapter))
    after = dict(subject.model.named_parameters())
    assert all(torch.equal(before[name], after[name]) for name in before)
