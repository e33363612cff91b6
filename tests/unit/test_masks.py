"""Masks: exactly so many, ties settled, never of another model, never nothing or everything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import GPT2Config, GPT2LMHeadModel, MixtralConfig, MixtralForCausalLM

from threatspec.errors import ThreatspecError
from threatspec.records import ArtefactStore
from threatspec.subjects._resident import ResidentSubject
from threatspec.training import Mask, MaskRequest, ScoreRequest
from threatspec.training._largest import largest, largest_of_rows
from threatspec.training._masks import eligible, make_mask
from threatspec.training.regions._artefacts import save_scores

Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def subject() -> ResidentSubject:
    return ResidentSubject.load("specimen:shallow", threads=1)


@pytest.fixture
def store(tmp_path: Path) -> ArtefactStore:
    return ArtefactStore(tmp_path)


def weights(subject: ResidentSubject) -> Tensors:
    return {name: p.detach().clone() for name, p in subject.model.named_parameters()}


def moved(subject: ResidentSubject, seed: int = 0) -> Tensors:
    """The subject's weights, each moved by noise."""
    maker = torch.Generator().manual_seed(seed)
    own = weights(subject)
    return {n: w + 0.01 * torch.randn(w.shape, generator=maker) for n, w in own.items()}


def mask_of(
    subject: ResidentSubject, store: ArtefactStore, source: Tensors, **request: Any
) -> tuple[Mask, Tensors]:
    given: dict[str, Any] = {"method": "largest-change", "share": 0.1, **request}
    if given["method"] == "top-score":
        request = ScoreRequest(method="snip", over="safety")
        name = save_scores(subject, request, source, store)
    else:
        name = store.save(source)
    mask = make_mask(subject, MaskRequest(source=name, **given), store)
    return mask, store.load(mask.artefact)


# the choice itself


@st.composite
def tables(draw: st.DrawFn) -> tuple[Tensors, Tensors, int]:
    """Values with many ties, some not to be taken, and how many are taken."""
    numbers = st.sampled_from([-3.0, -1.5, -0.0, 0.0, 1e-40, 0.25, 0.25000003, 7.0])
    sizes = draw(st.lists(st.integers(1, 8), min_size=1, max_size=4))
    values = {f"t{i}": torch.tensor(draw(st.lists(numbers, min_size=n, max_size=n)))
              for i, n in enumerate(sizes)}  # fmt: skip
    free = {name: torch.tensor(draw(st.lists(st.booleans(), min_size=len(v), max_size=len(v))))
            for name, v in values.items() if draw(st.booleans())}  # fmt: skip
    room = sum(int(free[n].sum()) if n in free else len(v) for n, v in values.items())
    return values, free, draw(st.integers(0, room))


@given(tables())
def test_the_largest_are_those_of_a_stable_sort(table: tuple[Tensors, Tensors, int]) -> None:
    values, free, count = table
    places = [
        (name, i) for name, found in values.items() for i in range(len(found))
        if name not in free or free[name][i]
    ]  # fmt: skip
    wanted = set(sorted(places, key=lambda p: -float(values[p[0]][p[1]]))[:count])
    found = dict(largest(list(values), values.__getitem__, count, free)) if count else {}
    taken = {(n, i) for n, mask in found.items() for i in mask.nonzero().flatten().tolist()}
    assert taken == wanted


@given(st.integers(1, 5), st.integers(1, 7), st.floats(0, 1), st.integers(0, 99))
def test_rows_take_their_own_share(rows: int, columns: int, share: float, seed: int) -> None:
    maker = torch.Generator().manual_seed(seed)
    values = torch.randint(0, 4, (rows, columns), generator=maker).float()
    free = torch.rand(rows, columns, generator=maker) < 0.7
    found = largest_of_rows(values, share, free)
    assert not (found & ~free).any()
    for row in range(rows):
        able = free[row].nonzero().flatten().tolist()
        wanted = sorted(able, key=lambda i: -float(values[row, i]))[: round(share * len(able))]
        assert set(found[row].nonzero().flatten().tolist()) == set(wanted)


# masks


@pytest.mark.parametrize("share", [0.1, 1 - 0.9, 1 - 0.99, 0.5, 1e-5])
def test_exactly_the_share_is_chosen(
    subject: ResidentSubject, store: ArtefactStore, share: float
) -> None:
    mask, tensors = mask_of(subject, store, moved(subject), share=share)
    total = sum(p.numel() for p in eligible(subject.model, "blocks").values())
    assert (mask.total, mask.chosen) == (total, round(share * total))
    assert sum(int(m.sum()) for m in tensors.values()) == mask.chosen
    assert all(m.dtype is torch.bool for m in tensors.values())


def test_one_threshold_holds_over_all_matrices_of_attention_and_mlp(
    subject: ResidentSubject, store: ArtefactStore
) -> None:
    after, own = moved(subject), weights(subject)
    name = "model.layers.1.mlp.up_proj.weight"
    after[name] = own[name] + 10 * (after[name] - own[name])
    _, tensors = mask_of(subject, store, after)
    change = {n: (after[n] - own[n]).abs() for n in tensors}
    least = min(float(change[n][m].min()) for n, m in tensors.items() if m.any())
    assert all(float(change[n][~m].max()) <= least for n, m in tensors.items())
    shares = {n: float(m.float().mean()) for n, m in tensors.items()}
    assert shares[name] > 0.5 > 0.1 > max(v for n, v in shares.items() if n != name)
    assert not any("embed" in n or "norm" in n for n in tensors)
    assert len(tensors) == 7 * 3


def test_scopes_compare_within_tensors_and_rows(
    subject: ResidentSubject, store: ArtefactStore
) -> None:
    _, tensors = mask_of(subject, store, moved(subject), scope="tensor", share=0.25)
    assert all(int(m.sum()) == m.numel() // 4 for m in tensors.values())
    _, tensors = mask_of(subject, store, moved(subject), scope="row", share=0.25)
    assert all(bool((m.sum(dim=1) == m.shape[1] // 4).all()) for m in tensors.values())


@pytest.mark.parametrize("scope", ["global", "tensor", "row"])
def test_a_mask_beside_another_shares_no_weight_with_it(
    subject: ResidentSubject, store: ArtefactStore, scope: str
) -> None:
    first, held = mask_of(subject, store, moved(subject), share=0.3)
    mask, tensors = mask_of(
        subject, store, moved(subject, 0), share=0.5, scope=scope, beside=first.artefact
    )
    assert mask.total == first.total - first.chosen
    assert mask.chosen == pytest.approx(mask.total / 2, rel=0.05)
    assert scope != "global" or mask.chosen == round(mask.total / 2)
    assert not any(bool((tensors[n] & held[n]).any()) for n in tensors)


def test_scores_may_be_negative_and_need_not_cover_everything(
    subject: ResidentSubject, store: ArtefactStore
) -> None:
    name = "model.layers.0.mlp.up_proj.weight"
    scores = {name: -torch.arange(256 * 96).float().view(256, 96)}
    mask, tensors = mask_of(subject, store, scores, method="top-score", share=0.25)
    assert mask.total == 256 * 96
    assert list(tensors) == [name]
    assert tensors[name].flatten().nonzero().flatten().tolist() == list(range(256 * 24))


def test_a_mask_is_the_same_every_time(subject: ResidentSubject, store: ArtefactStore) -> None:
    ties = {n: w + 0.5 for n, w in weights(subject).items()}
    first, second = (mask_of(subject, store, ties)[0] for _ in range(2))
    assert first == second


# what cannot be used


def refusals() -> Iterator[Any]:
    name = "model.layers.0.mlp.up_proj.weight"
    yield pytest.param(lambda w: {**w, "model.layers.7.mlp.up_proj.weight": w[name].clone()},
                       "name model.layers.7", id="names")  # fmt: skip
    yield pytest.param(lambda w: {**w, name: w[name].T.contiguous()}, "96, 256", id="shapes")
    yield pytest.param(lambda w: {n: t for n, t in w.items() if n != name}, "lack", id="missing")
    yield pytest.param(lambda w: {**w, name: w[name] / 0}, "finite", id="not finite")


@pytest.mark.parametrize(("spoil", "says"), list(refusals()))
def test_weights_of_another_model_are_refused(
    subject: ResidentSubject, store: ArtefactStore, spoil: Any, says: str
) -> None:
    with pytest.raises(ThreatspecError, match=says) as caught:
        mask_of(subject, store, spoil(moved(subject)))
    assert caught.value.code == "TS-SCORES"


def test_a_mask_of_another_model_beside_is_refused(
    subject: ResidentSubject, store: ArtefactStore
) -> None:
    other = store.save({"transformer.h.0.attn.c_attn.weight": torch.ones(2, 2, dtype=torch.bool)})
    with pytest.raises(ThreatspecError, match="transformer"):
        mask_of(subject, store, moved(subject), beside=other)


def test_scores_of_another_subject_are_refused(
    subject: ResidentSubject, store: ArtefactStore
) -> None:
    deep = ResidentSubject.load("specimen:deep", threads=1)
    name = save_scores(deep, ScoreRequest(method="snip", over="safety"), weights(deep), store)
    with pytest.raises(ThreatspecError, match="another") as caught:
        make_mask(subject, MaskRequest(method="top-score", source=name, share=0.1), store)
    assert caught.value.code == "TS-SCORES"


@pytest.mark.parametrize(
    ("share", "scope", "says"),
    [(1e-7, "global", "none"), (1 - 1e-7, "global", "all"), (0.001, "row", "none")],
)
def test_nothing_and_everything_are_no_choice(
    subject: ResidentSubject, store: ArtefactStore, share: float, scope: str, says: str
) -> None:
    with pytest.raises(ThreatspecError, match=says) as caught:
        mask_of(subject, store, moved(subject), share=share, scope=scope)
    assert caught.value.code == "TS-MASK"


def test_training_that_moved_nothing_has_no_largest_change(
    subject: ResidentSubject, store: ArtefactStore
) -> None:
    with pytest.raises(ThreatspecError, match="only 0 did") as caught:
        mask_of(subject, store, weights(subject))
    assert caught.value.code == "TS-MASK"


# other architectures


def test_blocks_are_found_whatever_they_are_called() -> None:
    small = {"n_layer": 2, "n_embd": 8, "n_head": 2, "vocab_size": 16, "n_positions": 8}
    gpt2 = GPT2LMHeadModel(GPT2Config(**small))
    names = set(eligible(gpt2, "blocks"))
    assert {name.split(".", 3)[3] for name in names} == {
        f"{part}.weight" for part in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    }
    assert set(eligible(gpt2, "linear")) == names  # the head is tied to the embeddings
    assert set(eligible(gpt2, "all")) == {name for name, _ in gpt2.named_parameters()}


def test_experts_are_part_of_the_blocks_and_an_untied_head_is_linear() -> None:
    model = MixtralForCausalLM(
        MixtralConfig(
            num_hidden_layers=1, hidden_size=8, intermediate_size=8, num_attention_heads=2,
            num_key_value_heads=1, num_local_experts=2, vocab_size=16,
        )
    )  # fmt: skip
    blocks = eligible(model, "blocks")
    assert any(parameter.dim() == 3 for parameter in blocks.values())
    more = set(eligible(model, "linear")) - set(blocks)
    assert more == {"lm_head.weight", "model.layers.0.mlp.gate.weight"}  # and the router


def test_rows_are_those_of_the_outputs_where_matrices_are_stored_the_other_way(
    store: ArtefactStore, subject: ResidentSubject
) -> None:
    small = {"n_layer": 1, "n_embd": 8, "n_head": 2, "vocab_size": 16, "n_positions": 8}
    other = ResidentSubject(subject.card, GPT2LMHeadModel(GPT2Config(**small)), subject.tokenizer)
    _, tensors = mask_of(other, store, moved(other), scope="row", share=0.25)
    assert {tuple(m.sum(dim=0).unique().tolist()) for n, m in tensors.items()} == {(2,), (8,)}
