"""Merging of task vectors: examples by hand, expectations, supports."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from threatspec.errors import ThreatspecError
from threatspec.records import ArtefactStore
from threatspec.training._merge import combine, merge, task_vector
from threatspec.training.merging import MergeConfig

Tensors = dict[str, torch.Tensor]
SHAPES = {"a": (8, 9), "b": (25,)}
ONE_ROUNDING = 2**-23
"""Relative error of one operation in float32: all that adding a change to a weight may cost."""


def noise(seed: int, shapes: dict[str, tuple[int, ...]] = SHAPES) -> Tensors:
    maker = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=maker) for name, shape in shapes.items()}


def config(method: Any, **given: Any) -> MergeConfig:
    return MergeConfig(method=method, **given)


def sparse(seed: int, taken: Tensors | None = None) -> tuple[Tensors, Tensors]:
    """A vector that is 0 but for a third of the entries, none of them taken, and its support."""
    support = {name: draw > 0.43 for name, draw in noise(seed + 100).items()}
    if taken:
        support = {name: own & ~taken[name] for name, own in support.items()}
    return {name: v * support[name] for name, v in noise(seed).items()}, support


# ties, by hand


def test_ties_trims_elects_and_averages_what_agrees() -> None:
    first = {"w": torch.tensor([4.0, -3.0, 2.0, 0.1, -0.2, 5.0]), "v": torch.tensor([0.3, 1.0])}
    second = {"w": torch.tensor([2.0, 5.0, -2.0, 0.1, 6.0, -1.0]), "v": torch.tensor([0.2, 3.0])}
    # half of eight entries are kept of each: 4, -3, 2, 5 and 2, 5, 6, 3; -2 comes after 2
    merged = combine([first, second], config("ties", density=0.5))
    # the mean of what agrees, not of both: 3 of (4, 2), 5 of (-3, 5), and 2 stands alone
    assert merged["w"].tolist() == [3.0, 5.0, 2.0, 0.0, 6.0, 5.0]
    assert merged["v"].tolist() == [0.0, 3.0]


def test_ties_elects_by_mass_and_not_by_number() -> None:
    vectors = [{"w": torch.tensor([value, 1.0])} for value in (1.0, 2.0, -4.0)]
    assert combine(vectors, config("ties"))["w"].tolist() == [-4.0, 1.0]


def test_ties_elects_nothing_where_both_signs_weigh_the_same() -> None:
    vectors = [{"w": torch.tensor([3.0, 1.0])}, {"w": torch.tensor([-3.0, 1.0])}]
    assert combine(vectors, config("ties", scale=0.5))["w"].tolist() == [0.0, 0.5]


@given(st.integers(0, 999), st.floats(0.05, 1.0))
def test_ties_of_one_vector_is_its_largest_part(seed: int, density: float) -> None:
    vector = noise(seed)
    merged = combine([vector], config("ties", density=density))
    kept = torch.cat([merged[n].flatten() for n in SHAPES])
    every = torch.cat([vector[n].flatten() for n in SHAPES])
    count = round(density * every.numel())
    assert int((kept != 0).sum()) == count
    assert torch.equal(kept[kept != 0], every[kept != 0])
    assert torch.equal(kept.abs().sort().values[-count:], every.abs().sort().values[-count:])


def test_ties_keeps_a_sparse_vector_whole_where_it_has_less_than_is_kept() -> None:
    vector, support = sparse(3)
    merged = combine([vector], config("ties", density=0.8))
    assert all(torch.equal(merged[n], vector[n]) for n in SHAPES)
    assert all(torch.equal(merged[n] != 0, support[n]) for n in SHAPES)


def test_a_density_that_keeps_nothing_is_refused() -> None:
    with pytest.raises(ThreatspecError, match="keeps none") as caught:
        combine([noise(0)], config("ties", density=0.001))
    assert caught.value.code == "TS-MASK"


# dare


def test_dare_drops_or_rescales_and_nothing_else() -> None:
    vector = noise(1, {"a": (200, 50)})
    merged = combine([vector], config("dare", density=0.25, seed=5))["a"]
    kept = merged != 0
    assert torch.equal(merged[kept], vector["a"][kept] / 0.25)
    # 10,000 entries kept with probability 1/4: five standard deviations are 217
    assert abs(int(kept.sum()) - 2500) < 217


def test_dare_keeps_the_expectation() -> None:
    vector, draws = noise(2), 1000
    total = {name: torch.zeros(shape) for name, shape in SHAPES.items()}
    for seed in range(draws):
        for name, part in combine([vector], config("dare", density=0.5, seed=seed)).items():
            total[name] += part
    for name, own in vector.items():
        # an entry x has mean x and standard deviation |x| where half is kept
        assert ((total[name] / draws - own).abs() <= 5 * own.abs() / draws**0.5).all()


def test_dare_depends_on_seed_and_vector_only() -> None:
    vector = noise(3, {"a": (50, 50), "b": (50, 50)})
    settings = config("dare", density=0.5, seed=1)
    one, two = combine([vector], settings), combine([vector], settings)
    turned = combine([dict(reversed(vector.items()))], settings)
    other = combine([vector], config("dare", density=0.5, seed=2))
    both = combine([vector, vector], settings)
    for name in vector:
        assert torch.equal(one[name], two[name])
        assert torch.equal(one[name], turned[name])
        assert not torch.equal(one[name], other[name])
        assert not torch.equal(both[name], 2 * one[name])  # each vector has draws of its own
    assert not torch.equal(one["a"] != 0, one["b"] != 0)


def test_dare_leaves_zeros_and_a_density_of_one_alone() -> None:
    vector, support = sparse(4)
    merged = combine([vector], config("dare", density=0.5))
    assert all(not (merged[n] != 0)[~support[n]].any() for n in SHAPES)
    whole = combine([vector], config("dare", density=1.0))
    assert all(torch.equal(whole[n], vector[n]) for n in SHAPES)


# sums


@pytest.mark.parametrize("method", ["sum", "ties"])
def test_sparse_vectors_side_by_side_do_not_interfere(method: str) -> None:
    first, held = sparse(5)
    second, own = sparse(6, held)
    third, _ = sparse(7, {n: held[n] | own[n] for n in SHAPES})
    vectors = [first, second, third]
    found = [combine(list(order), config(method)) for order in itertools.permutations(vectors)]
    for name in SHAPES:
        assert all(torch.equal(found[0][name], other[name]) for other in found)
        for vector in vectors:
            support = vector[name] != 0
            assert support.any()
            assert torch.equal(found[0][name][support], vector[name][support])


def test_task_arithmetic_weighs_and_may_subtract() -> None:
    first, second = noise(8), noise(9)
    merged = combine([first, second], config("task-arithmetic", weights=(0.5, -2.0)))
    for name in SHAPES:
        assert torch.equal(merged[name], 0.5 * first[name] - 2.0 * second[name])
    plain = combine([first, second], config("task-arithmetic"))
    assert all(torch.equal(plain[n], combine([first, second], config("sum"))[n]) for n in SHAPES)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_there_is_a_weight_for_each_vector(count: int) -> None:
    with pytest.raises(ValueError, match="weights"):
        combine([noise(0)] * count, config("task-arithmetic", weights=(1.0, 1.0)))
    with pytest.raises(ValueError, match="reads them"):
        config("sum", weights=(1.0,))


# weights


def test_a_merge_gives_back_what_was_tuned_on_its_support(tmp_path: Path) -> None:
    store, base = ArtefactStore(tmp_path), noise(10)
    (first, held), second = sparse(11), noise(12)
    second = {n: second[n] * ~held[n] for n in SHAPES}
    tuned = [{n: base[n] + vector[n] for n in SHAPES} for vector in (first, second)]
    names = [store.save(weights) for weights in tuned]
    merged = merge(store, base, names, config("sum"))
    for name in SHAPES:
        for weights, support in zip(tuned, (held[name], ~held[name]), strict=True):
            gap = (merged[name] - weights[name]).abs()[support]
            # tuned - base rounds once, base + change again
            largest = torch.maximum(base[name].abs(), weights[name].abs())[support]
            assert (gap <= 2 * ONE_ROUNDING * 2 * largest).all()
        assert torch.equal(
            (merged[name] != base[name]), (tuned[0][name] != base[name]) | ~held[name]
        )


def test_what_does_not_move_stays_bit_equal(tmp_path: Path) -> None:
    store, base = ArtefactStore(tmp_path), noise(13)
    vector, support = sparse(14)
    name = store.save({n: base[n] + vector[n] for n in SHAPES})
    for method in ("sum", "ties", "dare", "task-arithmetic"):
        merged = merge(store, base, [name, name], config(method, density=1.0))
        assert all(torch.equal(merged[n][~support[n]], base[n][~support[n]]) for n in SHAPES)


def test_a_tensor_that_was_not_tuned_did_not_move() -> None:
    base = noise(15)
    vector = task_vector(base, {"a": base["a"] + 1})
    assert not vector["b"].any()
    assert vector["a"].all()


@pytest.mark.parametrize("tuned", [{"c": torch.zeros(1)}, {"b": torch.zeros(1, 7)}])
def test_weights_of_another_model_are_refused(tuned: Tensors) -> None:
    with pytest.raises(ThreatspecError, match="same model") as caught:
        task_vector(noise(0), tuned)
    assert caught.value.code == "TS-SCORES"
