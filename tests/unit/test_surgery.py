"""Attacks that edit weights: what they ask for, what bounds them, what they leave on a specimen."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.support.tiny_models import tiny
from threatspec.attacks import ATTACKS, AttackContext, training_rows
from threatspec.records import ArtefactStore, Edit, Spend, Stream
from threatspec.runners._asks import Asks
from threatspec.runners._stopwatch import Stopwatch
from threatspec.schema import Capability, DataRole
from threatspec.subjects import Tamper
from threatspec.subjects._mount import mount
from threatspec.subjects._resident import ResidentSubject
from threatspec.training import EditRequest, Meter
from threatspec.training.regions import EDITS, SCORES, score

KINDS = (
    "actsvd", "least-safety", "orthogonal-projection", "probe-heads", "random-prune",
    "refusal-direction", "set-difference", "snip-prune", "wanda-prune", "weight-noise",
)  # fmt: skip
SMALL: dict[str, dict[str, Any]] = {
    "orthogonal-projection": {"keep_utility": 40},
    "probe-heads": {"heads": 5},  # of the fifth there are several equals
    "set-difference": {"scope": "matrix"},
    "snip-prune": {"share": "5 %"},
    "wanda-prune": {"share": "5 %"},
}
"""Knobs that do something to a matrix of 96 x 96 with 4 heads."""
SAFETY, UTILITY = (DataRole.HARMFUL,), (DataRole.BENIGN,)


@pytest.fixture(scope="module", autouse=True)
def registered() -> None:
    ATTACKS.names()
    for kind in KINDS:
        importlib.import_module(f"threatspec.attacks.{kind.replace('-', '_')}")


@pytest.fixture(scope="module")
def subject() -> ResidentSubject:
    return ResidentSubject.load("specimen:shallow", threads=1)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ArtefactStore:
    return ArtefactStore(tmp_path_factory.mktemp("artefacts"))


def run(
    subject: ResidentSubject, store: ArtefactStore, kind: str, seed: int = 0, **knobs: Any
) -> tuple[tuple[Tamper, ...], Edit]:
    """As a worker runs it: scores first, then the attack."""
    attack = ATTACKS.get(kind)
    config = attack.Config(**{**SMALL.get(kind, {}), **knobs})
    harmful, benign = (
        training_rows(f"specimen/{name}#attack_train", Path())[:12]
        for name in ("restricted", "benign")
    )
    scores = tuple(score(subject, r, harmful, benign, store) for r in attack.scores(config))
    seeds = dict.fromkeys(attack.streams, seed)
    context = AttackContext(subject=subject.card, rows=(), seeds=seeds, scores=scores)
    asks = Asks(subject, store, Meter(), Stopwatch())
    tampers = asks.drive(attack.run(context, config))
    [done] = asks.edits
    return tampers, done


@pytest.mark.parametrize("kind", KINDS)
def test_it_leaves_changed_weights_that_come_off_bit_exactly(
    subject: ResidentSubject, store: ArtefactStore, kind: str
) -> None:
    before = {name: p.detach().clone() for name, p in subject.model.named_parameters()}
    tampers, done = run(subject, store, kind)
    assert done.changed > 0
    with mount(subject, tampers, store):
        own = dict(subject.model.named_parameters())
        moved = sum(int((own[name] != before[name]).sum()) for name in before)
    assert moved == done.changed
    assert all(bool((before[n] == p).all()) for n, p in subject.model.named_parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_realised_edits_stay_within_what_the_configuration_bounds(
    subject: ResidentSubject, store: ArtefactStore, kind: str
) -> None:
    config = ATTACKS.get(kind).Config(**SMALL.get(kind, {}))
    _, done = run(subject, store, kind)
    if config.sparsity is not None:
        assert done.changed <= config.sparsity * done.total
    if config.change_rank is not None:
        assert done.rank is not None
        assert done.rank <= config.change_rank


@pytest.mark.parametrize("kind", KINDS)
def test_equal_seeds_equal_edits_and_declared_streams_matter(
    subject: ResidentSubject, store: ArtefactStore, kind: str
) -> None:
    first = run(subject, store, kind)
    assert run(subject, store, kind) == first
    others = [run(subject, store, kind, seed=seed)[0] for seed in (1, 2, 3)]
    moved = any(tampers != first[0] for tampers in others)
    assert moved == bool(ATTACKS.get(kind).streams)


def test_streams_are_declared_where_something_is_drawn() -> None:
    drawn = {kind for kind in KINDS if ATTACKS.get(kind).streams}
    assert drawn == {"probe-heads", "random-prune", "weight-noise"}
    assert all(ATTACKS.get(kind).streams == {Stream.INIT} for kind in drawn)


@pytest.mark.parametrize(
    ("kind", "roles"),
    [
        ("snip-prune", SAFETY), ("wanda-prune", SAFETY), ("actsvd", SAFETY),
        ("least-safety", SAFETY), ("set-difference", SAFETY + UTILITY),
        ("orthogonal-projection", SAFETY + UTILITY), ("probe-heads", SAFETY + UTILITY),
        ("refusal-direction", SAFETY + UTILITY), ("random-prune", ()), ("weight-noise", ()),
    ],
)  # fmt: skip
def test_it_reads_the_roles_of_its_scores(kind: str, roles: tuple[DataRole, ...]) -> None:
    attack = ATTACKS.get(kind)
    assert attack.roles(attack.Config()) == roles


@pytest.mark.parametrize(
    ("knobs", "roles"), [({"over": "utility"}, UTILITY), ({"does": "keep"}, SAFETY)]
)
def test_roles_follow_the_knobs(knobs: dict[str, Any], roles: tuple[DataRole, ...]) -> None:
    attack = ATTACKS.get("actsvd")
    assert attack.roles(attack.Config(**knobs)) == roles


@pytest.mark.parametrize("kind", KINDS)
def test_it_names_scores_and_an_edit_that_exist_and_costs_nothing(kind: str) -> None:
    attack = ATTACKS.get(kind)
    assert attack.needs == (frozenset({Capability.WEIGHTS_WRITE}),)
    assert attack.cost(tiny("llama").card, attack.Config(), None) == Spend()
    assert not attack.uses_rows
    for knobs in each_way(kind):
        config = attack.Config(**knobs)
        asked = next(attack.run(AttackContext(tiny("llama").card, (), {}), config))
        assert isinstance(asked, EditRequest)
        assert EDITS[asked.method].scores == len(attack.scores(config))
        for request in attack.scores(config):
            assert SCORES[request.method].contrast == (request.over == "both")


def each_way(kind: str) -> Iterator[dict[str, Any]]:
    yield {}
    if kind == "actsvd":
        yield {"does": "keep", "over": "utility", "basis": 4}
    if kind == "least-safety":
        yield {"by": "act-svd"}
        yield {"by": "wanda", "scope": "matrix"}
    if kind == "set-difference":
        yield {"score": "wanda"}


@pytest.mark.parametrize("by", ["snip", "wanda", "act-svd"])
def test_the_least_can_be_removed_by_entries_and_by_ranks(
    subject: ResidentSubject, store: ArtefactStore, by: str
) -> None:
    _, done = run(subject, store, "least-safety", by=by, share=0.25)
    if by == "act-svd":
        assert done.rank == 24  # a quarter of 96
    else:
        assert done.changed <= 0.25 * done.total
        assert done.rank is None


def test_what_matters_least_moves_the_model_less_than_what_matters_most(
    subject: ResidentSubject, store: ArtefactStore
) -> None:
    lengths = [
        run(subject, store, kind, share=0.1)[1].weight_delta
        for kind in ("wanda-prune", "random-prune", "least-safety")
    ]
    assert lengths == sorted(lengths, reverse=True)


@pytest.mark.parametrize(
    ("kind", "knobs"),
    [
        ("snip-prune", {"share": 0}), ("snip-prune", {"share": 1}), ("snip-prune", {"floor": -1}),
        ("set-difference", {"score": "probe"}), ("set-difference", {"scope": "model"}),
        ("actsvd", {"rank": 0}), ("probe-heads", {"heads": 0}), ("weight-noise", {"scale": 0}),
        ("refusal-direction", {"layer": -1}), ("orthogonal-projection", {"keep_safety": 0}),
    ],
)  # fmt: skip
def test_knobs_out_of_range_are_refused(kind: str, knobs: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ATTACKS.get(kind).Config(**knobs)


def test_a_floor_leaves_the_sparsity_open() -> None:
    config = ATTACKS.get("snip-prune").Config
    assert config(share=0.02).sparsity == 0.02
    assert config(share=0.02, floor=1).sparsity == 1.0
