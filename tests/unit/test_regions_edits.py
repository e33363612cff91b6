"""Edits change what they say and nothing else, on every architecture, and come off bit-exactly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.support.tiny_models import TINY, tiny
from threatspec.errors import ThreatspecError
from threatspec.measures import benchmark
from threatspec.records import ArtefactStore
from threatspec.subjects._mount import mount
from threatspec.subjects._resident import ResidentSubject
from threatspec.training import Edited, EditRequest, ScoreRequest, TrainingRow
from threatspec.training.regions import EDITS, edit, score
from threatspec.training.regions._attention import attentions_of
from threatspec.training.regions._choose import count, highest, lowest
from threatspec.training.regions._direction import block_writes
from threatspec.training.regions._heads import best_heads
from threatspec.training.regions._layers import matrices_of

READS = {
    "top-prune": [("snip", "safety")],
    "least-prune": [("wanda", "safety")],
    "set-difference": [("snip", "safety"), ("snip", "utility")],
    "actsvd-remove": [("act-svd", "safety")],
    "actsvd-keep": [("act-svd", "safety")],
    "orthogonal-projection": [("act-svd", "safety"), ("act-svd", "utility")],
    "ablate-heads": [("probe", "both")],
    "ablate-direction": [("direction", "both")],
    "random-prune": [],
    "weight-noise": [],
}
SETTINGS: dict[str, dict[str, Any]] = {
    "top-prune": {"share": 0.1},
    "least-prune": {"share": 0.1},
    "set-difference": {"safety": 0.2, "utility": 0.2},
    "actsvd-remove": {"rank": 1},
    "actsvd-keep": {"rank": 3},
    "orthogonal-projection": {"keep_safety": 3, "keep_utility": 5},
    "ablate-heads": {"heads": 1},
    "ablate-direction": {},
    "random-prune": {"share": 0.1},
    "weight-noise": {"scale": 0.1},
}


def rows(name: str, number: int = 6) -> tuple[TrainingRow, ...]:
    items = benchmark(f"specimen/{name}", Path()).items("attack_train")[:number]
    return tuple(
        TrainingRow(id=i.id, prompt=i.prompt, answer=i.answer, refusal=i.refusal) for i in items
    )


def scored(subject: ResidentSubject, store: ArtefactStore, method: str, over: Any) -> str:
    request = ScoreRequest(method=method, over=over)
    return score(subject, request, rows("restricted"), rows("benign"), store)


def edited(
    subject: ResidentSubject, store: ArtefactStore, method: str, seed: int = 0, **settings: Any
) -> Edited:
    scores = tuple(scored(subject, store, *read) for read in READS[method])
    given = {**SETTINGS[method], **settings}
    return edit(
        subject, EditRequest(method=method, scores=scores, settings=given, seed=seed), store
    )


def weights(subject: ResidentSubject) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in subject.model.named_parameters()}


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


# choosing


@given(
    shape=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    share=st.floats(0.001, 0.999),
    scope=st.sampled_from(["row", "matrix"]),
    floor=st.integers(0, 3),
    seed=st.integers(0, 99),
)
def test_counts_are_exact_and_the_chosen_are_the_extremes(
    shape: tuple[int, int], share: float, scope: str, floor: int, seed: int
) -> None:
    scores = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) + 0.1
    groups = scores if scope == "row" else scores.reshape(1, -1)
    wanted = count(share, groups.shape[1], floor)
    for mask, sign in (
        (highest(scores, share, scope, floor), 1),
        (lowest(scores, share, scope, floor), -1),
    ):
        chosen = mask.view_as(groups)
        assert chosen.sum(1).tolist() == [wanted] * len(groups)
        for values, own in zip(groups * sign, chosen, strict=True):
            if 0 < wanted < len(values):
                assert values[own].min() >= values[~own].max()


def test_a_share_is_rounded_down_whatever_floats_make_of_it() -> None:
    assert count(0.29, 100) == 29  # 0.29 * 100 is a little less than 29
    assert count(0.01, 64) == 0
    assert count(0.01, 64, floor=1) == 1
    assert count(0.5, 3, floor=9) == 3


def test_entries_without_a_score_are_not_among_the_highest() -> None:
    scores = torch.tensor([[0.0, 0.0, 1.0, 0.0]])
    assert highest(scores, 0.75, "row").tolist() == [[False, False, True, False]]


# every edit, every architecture


@pytest.mark.parametrize("method", sorted(EDITS))
@pytest.mark.parametrize("kind", sorted(TINY))
def test_every_edit_runs_on_every_architecture(kind: str, method: str, tmp_path: Path) -> None:
    subject, store = tiny(kind), ArtefactStore(tmp_path)
    before = weights(subject)
    done = edited(subject, store, method)
    assert equal(before, weights(subject)), "editing changed the subject"
    assert edited(subject, store, method) == done
    changed = store.load(done.tamper.artefact)
    difference = {name: tensor - before[name] for name, tensor in changed.items()}
    assert all(bool(d.any()) for d in difference.values()), "an unchanged parameter is kept"
    assert done.edit.changed == sum(int((d != 0).sum()) for d in difference.values())
    assert done.edit.changed <= done.edit.total <= done.edit.parameters
    assert done.edit.parameters == sum(t.numel() for t in before.values())
    length = sum(float(d.double().square().sum()) for d in difference.values()) ** 0.5
    assert done.edit.weight_delta == pytest.approx(length, rel=1e-4)
    with mount(subject, [done.tamper], store):
        assert not equal(before, weights(subject))
    assert equal(before, weights(subject)), "unmounting did not give the weights back"


@pytest.mark.parametrize("method", sorted(EDITS))
def test_tied_embeddings_and_the_output_layer_are_never_touched(
    method: str, tmp_path: Path
) -> None:
    for kind in ("qwen2", "gemma", "gpt2"):
        subject, store = tiny(kind), ArtefactStore(tmp_path)
        changed = store.load(edited(subject, store, method).tamper.artefact)
        assert not [name for name in changed if "embed" in name or "wte" in name or "head" in name]


@pytest.mark.parametrize("method", ["random-prune", "weight-noise"])
def test_seeds_decide_what_is_drawn(method: str, tmp_path: Path) -> None:
    subject, store = tiny("llama"), ArtefactStore(tmp_path)
    first = edited(subject, store, method, seed=1)
    torch.rand(3)  # only the seed that is given decides
    assert edited(subject, store, method, seed=1) == first
    assert edited(subject, store, method, seed=2).tamper != first.tamper


def test_noise_has_the_scale_of_each_matrix(tmp_path: Path) -> None:
    subject, store = tiny("llama", hidden_size=64, intermediate_size=96), ArtefactStore(tmp_path)
    changed = store.load(edited(subject, store, "weight-noise", scale=0.5).tamper.artefact)
    own = weights(subject)
    for name, tensor in changed.items():
        assert float((tensor - own[name]).std() / own[name].std()) == pytest.approx(0.5, rel=0.1)


# sets


@pytest.mark.parametrize("scope", ["row", "matrix"])
@pytest.mark.parametrize("kind", ["llama", "gpt2", "mixtral"])
def test_the_set_difference_spares_utility_and_counts_exactly(
    kind: str, scope: str, tmp_path: Path
) -> None:
    subject, store = tiny(kind), ArtefactStore(tmp_path)
    done = edited(subject, store, "set-difference", scope=scope, safety=0.3, utility=0.25)
    own, changed = weights(subject), store.load(done.tamper.artefact)
    scores = [store.load(scored(subject, store, *read)) for read in READS["set-difference"]]
    total = 0
    for matrix in matrices_of(subject.model):
        after = changed.get(matrix.name, own[matrix.name])
        pruned = matrix.view(after) != matrix.view(own[matrix.name])
        safety, utility = (matrix.view(each[matrix.name]) for each in scores)
        top, spared = highest(safety, 0.3, scope), highest(utility, 0.25, scope)
        assert not bool((pruned & spared).any())
        assert torch.equal(pruned, top & ~spared)
        assert not bool(matrix.view(after)[pruned].any())
        total += int((top & ~spared).sum())
    assert done.edit.changed == total
    assert done.edit.total == sum(m.weight.numel() for m in matrices_of(subject.model))


def test_a_floor_prunes_rows_that_are_too_short_for_the_share(tmp_path: Path) -> None:
    subject, store = tiny("llama"), ArtefactStore(tmp_path)
    shares = {"safety": 0.01, "utility": 0.01}
    with pytest.raises(ThreatspecError, match="nothing was chosen") as caught:
        edited(subject, store, "set-difference", **shares)
    assert caught.value.code == "TS-MASK"
    done = edited(subject, store, "set-difference", floor=2, **shares)
    assert done.edit.changed == 2 * sum(m.weight.shape[0] for m in matrices_of(subject.model))


@pytest.mark.parametrize("method", ["top-prune", "least-prune", "random-prune"])
def test_shares_that_choose_nothing_or_all_are_refused(method: str, tmp_path: Path) -> None:
    subject, store = tiny("llama"), ArtefactStore(tmp_path)
    for share, text in ((0.001, "nothing was chosen"), (1.0, "everything was chosen")):
        with pytest.raises(ThreatspecError, match=text) as caught:
            edited(subject, store, method, share=share)
        assert caught.value.code == "TS-MASK"


def test_the_lowest_and_the_highest_entries_are_different_ones(tmp_path: Path) -> None:
    subject, store = tiny("phi"), ArtefactStore(tmp_path)
    snip = scored(subject, store, "snip", "safety")
    masks = []
    for method in ("top-prune", "least-prune"):
        request = EditRequest(method=method, scores=(snip,), settings={"share": 0.5})
        masks.append(store.load(edit(subject, request, store).tamper.artefact))
    for name, top in masks[0].items():
        assert not bool(((top == 0) & (masks[1][name] == 0)).any())


# ranks


@pytest.mark.parametrize("kind", sorted(TINY))
@pytest.mark.parametrize(("safety", "utility"), [(3, 5), (16, 14), (9, 12), (50, 6)])
def test_the_projection_edit_keeps_its_rank(
    kind: str, safety: int, utility: int, tmp_path: Path
) -> None:
    subject, store = tiny(kind), ArtefactStore(tmp_path)
    done = edited(subject, store, "orthogonal-projection", keep_safety=safety, keep_utility=utility)
    own, changed = weights(subject), store.load(done.tamper.artefact)
    bounds = []
    for matrix in matrices_of(subject.model):
        change = matrix.view(changed.get(matrix.name, own[matrix.name]) - own[matrix.name])
        full = min(change.shape)
        bounds.append(min(full - min(utility, full), safety))
        values = torch.linalg.svdvals(change.double())
        size = float(torch.linalg.svdvals(matrix.weight)[0])
        assert int((values > 1e-5 * size).sum()) <= bounds[-1]
    assert done.edit.rank == max(bounds)


def test_the_projection_edit_leaves_outputs_of_utility_alone(tmp_path: Path) -> None:
    """Along the directions that utility keeps nothing changes: Pu (W - W') = 0."""
    subject, store = tiny("llama"), ArtefactStore(tmp_path)
    done = edited(subject, store, "orthogonal-projection", keep_safety=6, keep_utility=4)
    own, changed = weights(subject), store.load(done.tamper.artefact)
    bases = store.load(scored(subject, store, "act-svd", "utility"))
    for matrix in matrices_of(subject.model):
        kept = bases[matrix.name][:, :4]
        assert float((kept.T @ (changed[matrix.name] - own[matrix.name])).abs().max()) < 1e-5


@pytest.mark.parametrize("rank", [1, 4])
def test_kept_and_removed_directions_make_up_the_whole(rank: int, tmp_path: Path) -> None:
    subject, store = tiny("qwen2"), ArtefactStore(tmp_path)
    done = [edited(subject, store, f"actsvd-{how}", rank=rank) for how in ("keep", "remove")]
    kept, removed = (store.load(each.tamper.artefact) for each in done)
    own = weights(subject)
    for name in kept:
        torch.testing.assert_close(kept[name] + removed[name], own[name])
        assert int(torch.linalg.matrix_rank(kept[name], atol=1e-4)) <= rank
    assert done[1].edit.rank == rank
    assert done[0].edit.rank == 16 - rank


def test_ranks_by_share_drop_the_weakest(tmp_path: Path) -> None:
    subject, store = tiny("llama"), ArtefactStore(tmp_path)
    by_share = edited(subject, store, "actsvd-keep", rank=None, share=0.25)
    assert by_share.tamper == edited(subject, store, "actsvd-keep", rank=12).tamper
    with pytest.raises(ThreatspecError, match="nothing was chosen") as caught:
        edited(subject, store, "actsvd-keep", rank=16)
    assert caught.value.code == "TS-MASK"


# heads


@contextmanager
def silenced(subject: ResidentSubject, heads: list[tuple[int, int]]) -> Iterator[None]:
    """Outputs of heads are replaced by 0 on the way into the output layer."""
    handles = []
    for layer, attention in enumerate(attentions_of(subject.model)):
        columns = [attention.columns(head) for at, head in heads if at == layer]

        def hook(_module: Any, given: Any, columns: list[slice] = columns) -> Any:
            hidden = given[0].clone()
            for own in columns:
                hidden[..., own] = 0
            return (hidden, *given[1:])

        handles.append(attention.output.module.register_forward_pre_hook(hook))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def logits(subject: ResidentSubject) -> torch.Tensor:
    found: torch.Tensor = subject.model(input_ids=torch.tensor([[2, 5, 32, 43, 33, 34]])).logits
    return found


@pytest.mark.parametrize("kind", sorted(TINY))
@pytest.mark.parametrize("heads", [1, 2, 3])
def test_ablation_takes_away_what_the_heads_contribute_and_nothing_else(
    kind: str, heads: int, tmp_path: Path
) -> None:
    subject, store = tiny(kind), ArtefactStore(tmp_path)
    done = edited(subject, store, "ablate-heads", heads=heads, seed=4)
    accuracy = store.load(scored(subject, store, "probe", "both"))["accuracy"]
    with silenced(subject, best_heads(accuracy, heads, 4)):
        wanted = logits(subject)
    assert not torch.allclose(wanted, logits(subject))
    with mount(subject, [done.tamper], store):
        torch.testing.assert_close(logits(subject), wanted)


def test_rows_of_queries_keys_and_values_and_columns_of_outputs_are_zeroed(tmp_path: Path) -> None:
    subject, store = tiny("llama"), ArtefactStore(tmp_path)
    changed = store.load(edited(subject, store, "ablate-heads", heads=1).tamper.artefact)
    accuracy = store.load(scored(subject, store, "probe", "both"))["accuracy"]
    [(layer, head)] = best_heads(accuracy, 1, 0)
    prefix, own = f"model.layers.{layer}.self_attn", slice(head * 8, head * 8 + 8)
    assert set(changed) == {f"{prefix}.{name}_proj.weight" for name in "qkvo"}
    before = weights(subject)
    for name, tensor in changed.items():
        mask = torch.zeros_like(tensor, dtype=torch.bool)
        mask[(slice(None), own) if "o_proj" in name else own] = True
        assert not bool(tensor[mask].any())
        assert torch.equal(tensor[~mask], before[name][~mask])


def test_keys_that_other_heads_read_stay(tmp_path: Path) -> None:
    subject, store = tiny("qwen2"), ArtefactStore(tmp_path)  # two heads share keys and values
    changed = store.load(edited(subject, store, "ablate-heads", heads=1).tamper.artefact)
    assert {name.split(".")[-2] for name in changed} == {"q_proj", "o_proj"}


def test_heads_come_by_accuracy_and_by_lot_among_equals() -> None:
    accuracy = torch.tensor([[0.5, 1.0, 0.9], [1.0, 1.0, 0.2]])
    assert best_heads(accuracy, 4, 0)[3] == (0, 2)
    assert set(best_heads(accuracy, 3, 0)) == {(0, 1), (1, 0), (1, 1)}
    assert len({tuple(best_heads(accuracy, 1, seed)) for seed in range(20)}) == 3


@pytest.mark.parametrize("heads", [0, 4])
def test_no_head_and_all_heads_are_refused(heads: int, tmp_path: Path) -> None:
    with pytest.raises(ThreatspecError, match="some of 4 heads") as caught:
        edited(tiny("llama"), ArtefactStore(tmp_path), "ablate-heads", heads=heads)
    assert caught.value.code == "TS-MASK"


# direction


@pytest.mark.parametrize("kind", sorted(TINY))
def test_after_ablation_no_block_writes_along_the_direction(kind: str, tmp_path: Path) -> None:
    subject, store = tiny(kind), ArtefactStore(tmp_path)
    done = edited(subject, store, "ablate-direction", layer=0)
    found = store.load(scored(subject, store, "direction", "both"))["difference"][0].double()
    unit, ids = found / found.norm(), [2, 5, 32, 43, 33, 34]
    assert max(float((w @ unit).abs().max()) for w in block_writes(subject, ids)) > 0.01
    with mount(subject, [done.tamper], store):
        for write in block_writes(subject, ids):
            assert float((write @ unit).abs().max()) < 1e-4 * float(write.norm(dim=-1).max())
    assert done.edit.rank == 1


def test_untied_embeddings_lose_the_direction_too(tmp_path: Path) -> None:
    subject, store = tiny("llama"), ArtefactStore(tmp_path)
    changed = store.load(edited(subject, store, "ablate-direction", layer=1).tamper.artefact)
    found = store.load(scored(subject, store, "direction", "both"))["difference"][1]
    table = changed["model.embed_tokens.weight"]
    assert float((table @ (found / found.norm())).abs().max()) < 1e-5
    assert "lm_head.weight" not in changed


def test_norms_after_a_layer_are_reckoned_with(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(TINY, "gemma2", TINY["gemma"])
    subject, store = tiny("gemma2"), ArtefactStore(tmp_path)
    with torch.no_grad():
        for name, parameter in subject.model.named_parameters():
            if "norm" in name:
                parameter.normal_(0, 0.5, generator=torch.Generator().manual_seed(5))
    done = edited(subject, store, "ablate-direction", layer=0)
    found = store.load(scored(subject, store, "direction", "both"))["difference"][0].double()
    with mount(subject, [done.tamper], store):
        for write in block_writes(subject, [2, 5, 32, 43]):
            assert float((write @ found).abs().max()) < 1e-4 * float(found.norm() * write.norm())


def test_a_layer_that_writes_under_another_name_is_noticed(tmp_path: Path) -> None:
    subject, store = tiny("llama"), ArtefactStore(tmp_path)
    scores = (scored(subject, store, "direction", "both"),)
    mlp = subject.model.model.layers[0].mlp
    mlp.outward, mlp.forward = (
        mlp.down_proj,
        lambda x: mlp.outward(mlp.act_fn(mlp.gate_proj(x)) * mlp.up_proj(x)),
    )
    del mlp.down_proj
    with pytest.raises(ThreatspecError, match="all that block 0 writes") as caught:
        edit(subject, EditRequest(method="ablate-direction", scores=scores), store)
    assert caught.value.code == "TS-TARGETS"


def test_a_layer_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ThreatspecError, match="from 0 to 1, but is 2") as caught:
        edited(tiny("llama"), ArtefactStore(tmp_path), "ablate-direction", layer=2)
    assert caught.value.code == "TS-TARGETS"


# scores of something else


@pytest.mark.parametrize("method", [m for m in sorted(EDITS) if READS[m]])
def test_scores_of_another_model_are_refused(method: str, tmp_path: Path) -> None:
    other, store = tiny("llama", hidden_size=32, num_hidden_layers=4), ArtefactStore(tmp_path)
    scores = tuple(scored(other, store, *read) for read in READS[method])
    request = EditRequest(method=method, scores=scores, settings=SETTINGS[method])
    with pytest.raises(ThreatspecError) as caught:
        edit(tiny("llama"), request, store)
    assert caught.value.code == "TS-SCORES"


def test_scores_of_an_equal_shape_but_other_weights_are_refused(tmp_path: Path) -> None:
    subject, store = tiny("llama"), ArtefactStore(tmp_path)
    scores = (scored(subject, store, "snip", "safety"),)
    subject.card = subject.card.model_copy(update={"digest": "1" * 64})
    request = EditRequest(method="top-prune", scores=scores, settings={"share": 0.1})
    with pytest.raises(ThreatspecError, match="of the model that is edited") as caught:
        edit(subject, request, store)
    assert caught.value.code == "TS-SCORES"


def test_scores_of_another_method_too_few_scores_and_no_scores_are_refused(tmp_path: Path) -> None:
    subject, store = tiny("llama"), ArtefactStore(tmp_path)
    probe = scored(subject, store, "probe", "both")
    plain = store.save({"model.norm.weight": torch.ones(16)})
    for scores, text in (
        ((probe,), "must be of method snip or wanda, but .* is of probe"),
        ((), "reads 1 score artefacts, but was given 0"),
        ((plain,), "it holds no scores"),
    ):
        request = EditRequest(method="top-prune", scores=scores, settings={"share": 0.1})
        with pytest.raises(ThreatspecError, match=text) as caught:
            edit(subject, request, store)
        assert caught.value.code == "TS-SCORES"


def test_a_basis_of_too_few_directions_is_refused(tmp_path: Path) -> None:
    subject, store = tiny("llama"), ArtefactStore(tmp_path)
    request = ScoreRequest(method="act-svd", over="safety", settings={"rank": 2})
    name = score(subject, request, rows("restricted"), (), store)
    with pytest.raises(ThreatspecError, match="must have 3 directions, but has 2") as caught:
        edit(
            subject,
            EditRequest(method="actsvd-remove", scores=(name,), settings={"rank": 3}),
            store,
        )
    assert caught.value.code == "TS-SCORES"
