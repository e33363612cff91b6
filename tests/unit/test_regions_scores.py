"""Scores are what their formulas say: checked by finite differences and by brute force."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.support.tiny_models import TINY, tiny
from threatspec.errors import ThreatspecError
from threatspec.measures import benchmark
from threatspec.records import ArtefactStore
from threatspec.subjects._resident import ResidentSubject
from threatspec.training import ScoreRequest, TrainingRow, forward_flops
from threatspec.training._batches import Encoded, encode
from threatspec.training.regions import SCORES, jaccard, score, score_spend, subspace_similarity
from threatspec.training.regions._actsvd import left_basis
from threatspec.training.regions._artefacts import load_scores
from threatspec.training.regions._layers import Matrix, matrices_of
from threatspec.training.regions._probe import accuracies
from threatspec.training.regions._reading import read_inputs
from threatspec.training.regions._snip import snip
from threatspec.training.regions._wanda import wanda


def rows(name: str, count: int) -> tuple[TrainingRow, ...]:
    items = benchmark(f"specimen/{name}", Path()).items("attack_train")[:count]
    return tuple(
        TrainingRow(id=i.id, prompt=i.prompt, answer=i.answer, refusal=i.refusal) for i in items
    )


def refusals(subject: ResidentSubject, count: int) -> list[Encoded]:
    refused = [r.model_copy(update={"answer": r.refusal}) for r in rows("restricted", count)]
    return encode(subject, refused)


def of_size(outputs: int, inputs: int) -> torch.Tensor:
    return torch.randn(outputs, inputs, dtype=torch.float64, generator=torch.manual_seed(3))


def loss_of(subject: ResidentSubject, row: Encoded) -> float:
    ids = torch.tensor([row.ids])
    with torch.no_grad():
        logits = subject.model(input_ids=ids, use_cache=False).logits[0, row.start - 1 : -1]
    return float(nn.functional.cross_entropy(logits, ids[0, row.start :]))


def inputs_of(subject: ResidentSubject, encoded: list[Encoded], matrix: Matrix) -> torch.Tensor:
    """What a matrix is given at response tokens, read once more: [tokens, inputs]."""
    found: list[torch.Tensor] = []
    read_inputs(
        subject, encoded, matrices_of(subject.model),
        lambda m, tokens: found.append(tokens) if m.name == matrix.name and m.part == matrix.part
        else None,
    )  # fmt: skip
    return torch.cat(found)


# layers


@pytest.mark.parametrize(
    ("kind", "count"),
    [("llama", 14), ("qwen2", 14), ("gemma", 14), ("gpt2", 8), ("phi", 12), ("mixtral", 20)],
)
def test_every_matrix_of_the_blocks_is_found_and_no_embedding(kind: str, count: int) -> None:
    model = tiny(kind).model
    found = matrices_of(model)
    assert len(found) == count
    assert {m.block for m in found} == {0, 1}
    outside = {"embed", "wte", "wpe", "lm_head", "norm", "ln_", "router", "gate.weight"}
    assert not [m.name for m in found if any(word in m.name for word in outside)]
    inside = sum(m.weight.numel() for m in found)
    two_dimensional = sum(
        p.numel()
        for name, p in model.named_parameters()
        if p.dim() >= 2 and (".layers." in name or ".h." in name) and "gate.weight" not in name
    )
    assert inside == two_dimensional


def test_a_transposed_layer_is_seen_as_outputs_by_inputs() -> None:
    subject = tiny("gpt2")
    [fused] = [m for m in matrices_of(subject.model) if m.leaf == "c_attn" and m.block == 0]
    given = torch.randn(3, 16)
    bias = dict(subject.model.named_parameters())[fused.name.replace("weight", "bias")]
    torch.testing.assert_close(given @ fused.weight.T + bias, fused.module(given))


def test_a_model_without_blocks_is_refused() -> None:
    model: Any = nn.Linear(2, 2)
    model.config = tiny("llama").model.config
    with pytest.raises(ThreatspecError, match="must have a list of its 2 decoder blocks") as caught:
        matrices_of(model)
    assert caught.value.code == "TS-TARGETS"


def test_blocks_without_matrices_are_refused() -> None:
    model: Any = nn.ModuleDict({"layers": nn.ModuleList([nn.LayerNorm(2), nn.LayerNorm(2)])})
    model.config = tiny("llama").model.config
    with pytest.raises(ThreatspecError, match="must hold linear layers") as caught:
        matrices_of(model)
    assert caught.value.code == "TS-TARGETS"


def test_a_model_without_layers_known_by_name_is_refused(tmp_path: Path) -> None:
    subject = tiny("llama")
    for layer in subject.model.model.layers:
        layer.attend = layer.self_attn
        del layer.self_attn
    store, request = ArtefactStore(tmp_path), ScoreRequest(method="probe", over="both")
    with pytest.raises(ThreatspecError, match="attention must end in") as caught:
        score(subject, request, rows("restricted", 2), rows("benign", 2), store)
    assert caught.value.code == "TS-TARGETS"


# snip


@pytest.mark.parametrize(
    ("kind", "step", "rel"),
    # norms of Llama and Mixtral round to float32 whatever the weights are
    [("gpt2", 1e-4, 1e-5), ("llama", 1e-2, 2e-3), ("mixtral", 1e-2, 2e-3)],
)
def test_snip_is_the_first_order_change_of_the_loss(kind: str, step: float, rel: float) -> None:
    subject = tiny(kind)
    subject.model.double()
    if kind == "mixtral":
        subject.model.set_experts_implementation("eager")
    encoded = refusals(subject, 3)
    found = snip(subject, encoded)
    own = dict(subject.model.named_parameters())
    for name in list(found)[:: max(1, len(found) // 6)]:
        place = tuple(int(i) for i in (found[name] == found[name].max()).nonzero()[0])
        assert float(found[name][place]) == pytest.approx(
            _numeric(subject, encoded, own[name], place, step), rel=rel
        )


def _numeric(
    subject: ResidentSubject,
    encoded: list[Encoded],
    parameter: nn.Parameter,
    place: Any,
    step: float,
) -> float:
    """Mean over rows of |central difference of the loss| as an entry goes towards 0."""
    value, losses = float(parameter.detach()[place]), []
    for factor in (1 + step, 1 - step):
        with torch.no_grad():
            parameter[place] = value * factor
        losses.append([loss_of(subject, row) for row in encoded])
    with torch.no_grad():
        parameter[place] = value
    return sum(abs(a - b) / (2 * step) for a, b in zip(*losses, strict=True)) / len(encoded)


def test_snip_takes_the_absolute_value_before_the_mean() -> None:
    subject = tiny("llama")
    encoded = refusals(subject, 4)
    together = snip(subject, encoded)
    single = [snip(subject, [row]) for row in encoded]
    for name, found in together.items():
        torch.testing.assert_close(found, torch.stack([s[name] for s in single]).mean(0))


def test_snip_leaves_no_gradients_and_no_frozen_parameters() -> None:
    subject = tiny("llama")
    snip(subject, refusals(subject, 2))
    assert all(p.grad is None and p.requires_grad for p in subject.model.parameters())


# wanda


@pytest.mark.parametrize("kind", ["llama", "gpt2", "mixtral"])
def test_wanda_is_the_output_error_of_removing_one_entry(kind: str) -> None:
    subject = tiny(kind)
    encoded = refusals(subject, 4)
    found = wanda(subject, encoded)
    for matrix in matrices_of(subject.model)[::3]:
        given = inputs_of(subject, encoded, matrix)
        scores, weight = matrix.view(found[matrix.name]), matrix.weight
        error = torch.empty_like(weight)
        for i, j in torch.cartesian_prod(*map(torch.arange, weight.shape)).tolist():
            without = weight[i].clone()
            without[j] = 0
            error[i, j] = (given @ weight[i] - given @ without).norm()
        torch.testing.assert_close(scores, error, rtol=1e-3, atol=1e-4)
        if len(given):
            assert scores.argmin(1).tolist() == error.argmin(1).tolist()


def test_only_response_tokens_count() -> None:
    subject = tiny("llama")
    [row] = refusals(subject, 1)
    first = matrices_of(subject.model)[0]
    given = inputs_of(subject, [row], first)
    assert len(given) == len(row.ids) - row.start
    assert len(inputs_of(subject, refusals(subject, 3), first)) == sum(
        len(r.ids) - r.start for r in refusals(subject, 3)
    )


@pytest.mark.parametrize("implementation", ["eager", "grouped_mm", "batched_mm"])
def test_inputs_of_an_expert_are_those_of_the_tokens_routed_to_it(implementation: str) -> None:
    subject = tiny("mixtral")
    subject.model.set_experts_implementation(implementation)
    [row] = refusals(subject, 1)
    block = subject.model.model.layers[1].mlp
    seen: dict[str, torch.Tensor] = {}
    handle = block.experts.register_forward_hook(
        lambda _m, given, out: seen.update(
            hidden=given[0], index=given[1], weight=given[2], out=out
        )
    )
    with torch.no_grad():
        subject.model(input_ids=torch.tensor([row.ids]), use_cache=False)
    handle.remove()
    experts = [m for m in matrices_of(subject.model) if m.block == 1 and m.part is not None]
    total = torch.zeros_like(seen["out"])
    for down in (m for m in experts if m.leaf == "down_proj"):
        hit = (seen["index"] == down.part).any(-1)
        hit[: row.start] = False
        inner = inputs_of(subject, [row], down)
        assert len(inner) == int(hit.sum())
        weight = (seen["weight"] * (seen["index"] == down.part)).sum(-1)
        total[hit] += inner @ down.weight.T * weight[hit, None]
    torch.testing.assert_close(total[row.start :], seen["out"][row.start :], rtol=1e-4, atol=1e-5)


# act-svd


@pytest.mark.parametrize(("outputs", "inputs"), [(6, 9), (9, 6), (7, 7)])
def test_no_random_subspace_of_equal_rank_keeps_more_of_the_outputs(
    outputs: int, inputs: int
) -> None:
    weight, given = of_size(outputs, inputs), of_size(inputs, 40)
    for rank in (1, 2, 4):
        basis = left_basis(weight, given @ given.T, rank)
        torch.testing.assert_close(basis.T @ basis, torch.eye(rank).double())
        lost = _lost(weight, given, basis)
        singular = torch.linalg.svdvals(weight @ given)
        assert lost == pytest.approx(float(singular[rank:].square().sum().sqrt()), rel=1e-6)
        for seed in range(50):
            other = torch.randn(outputs, rank, dtype=torch.float64,
                                generator=torch.Generator().manual_seed(seed))  # fmt: skip
            assert _lost(weight, given, torch.linalg.qr(other)[0]) > lost


def _lost(weight: torch.Tensor, given: torch.Tensor, basis: torch.Tensor) -> float:
    return float((weight @ given - basis @ (basis.T @ weight) @ given).norm())


def test_a_basis_of_more_outputs_than_inputs_spans_the_columns_of_the_matrix() -> None:
    weight, given = of_size(9, 4), of_size(4, 2)  # two tokens do not reach all inputs
    basis = left_basis(weight, given @ given.T)
    assert basis.shape == (9, 4)
    torch.testing.assert_close(basis @ (basis.T @ weight), weight)


def test_a_wide_matrix_gets_nearly_the_exact_basis(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = of_size(40, 40) @ torch.diag(torch.logspace(0, -3, 40).double())
    exact = left_basis(weight, torch.eye(40).double(), 3)
    monkeypatch.setattr("threatspec.training.regions._actsvd._EXACT", 8)
    state = torch.random.get_rng_state()
    drawn = left_basis(weight, torch.eye(40).double(), 3)
    assert subspace_similarity(drawn, exact) == pytest.approx(1, abs=1e-6)
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize("kind", sorted(TINY))
def test_bases_are_of_what_each_layer_puts_out(kind: str, tmp_path: Path) -> None:
    subject = tiny(kind)
    name = score(
        subject, ScoreRequest(method="act-svd", over="safety", settings={"rank": 2}),
        rows("restricted", 6), (), ArtefactStore(tmp_path),
    )  # fmt: skip
    bases = load_scores(subject, name, ArtefactStore(tmp_path), "act-svd")
    for matrix in matrices_of(subject.model):
        found = bases[matrix.name] if matrix.part is None else bases[matrix.name][matrix.part]
        out = matrix.weight @ inputs_of(subject, refusals(subject, 6), matrix).T
        assert found.shape == (out.shape[0], 2)
        kept = float((found @ (found.T @ out)).square().sum())
        best = float(torch.linalg.svdvals(out)[:2].square().sum())
        assert kept == pytest.approx(best, rel=1e-3)


# probes


def test_a_probe_reads_what_is_there_and_nothing_else() -> None:
    generator = torch.Generator().manual_seed(0)
    own = torch.randn(70, 2, 5, generator=generator)
    other = torch.randn(70, 2, 5, generator=generator)
    own[:, 0, 3] += 12
    told, blind = accuracies(own, other).tolist()
    assert told == 1
    assert blind < 0.75


def test_probes_are_of_all_heads(tmp_path: Path) -> None:
    subject, store = tiny("qwen2"), ArtefactStore(tmp_path)
    request = ScoreRequest(method="probe", over="both")
    name = score(subject, request, rows("restricted", 7), rows("benign", 7), store)
    found = load_scores(subject, name, store, "probe")["accuracy"]
    assert found.shape == (2, 2)
    assert set((found * 4).flatten().tolist()) <= {0, 1, 2, 3, 4}  # 7 - 5 rows of either role


# any architecture


@pytest.mark.parametrize("method", sorted(SCORES))
@pytest.mark.parametrize("kind", sorted(TINY))
def test_every_score_runs_on_every_architecture_and_changes_nothing(
    kind: str, method: str, tmp_path: Path
) -> None:
    subject, store = tiny(kind), ArtefactStore(tmp_path)
    before = {n: p.detach().clone() for n, p in subject.model.named_parameters()}
    over: Any = "both" if SCORES[method].contrast else "safety"
    request = ScoreRequest(method=method, over=over)
    given = rows("restricted", 4), rows("benign", 4)
    name = score(subject, request, *given, store)
    assert score(subject, request, *given, store) == name
    assert all(torch.equal(before[n], p) for n, p in subject.model.named_parameters())
    found = load_scores(subject, name, store, method)
    assert all(t.dtype is torch.float32 and bool(t.isfinite().all()) for t in found.values())
    if method in {"snip", "wanda"}:
        assert {n: t.shape for n, t in found.items()} == {
            m.name: before[m.name].shape for m in matrices_of(subject.model)
        }


@pytest.mark.parametrize(
    ("over", "safety", "utility", "text"),
    [
        ("safety", (), rows("benign", 1), "scores need safety rows"),
        ("utility", rows("restricted", 1), (), "scores need utility rows"),
        ("safety", (TrainingRow(id="a", prompt="b", answer="c"),), (), "row a must have a refusal"),
        ("utility", (), (TrainingRow(id="a", prompt="b", answer=""),), "row a must have an answer"),
    ],
)
def test_rows_that_cannot_be_scored_are_refused(
    over: Any, safety: Any, utility: Any, text: str, tmp_path: Path
) -> None:
    with pytest.raises(ThreatspecError, match=text) as caught:
        score(
            tiny("llama"), ScoreRequest(method="wanda", over=over), safety, utility,
            ArtefactStore(tmp_path),
        )  # fmt: skip
    assert caught.value.code == "TS-DATA"


@pytest.mark.parametrize("method", ["snip", "wanda", "act-svd"])
def test_scores_that_are_not_finite_are_refused(method: str, tmp_path: Path) -> None:
    subject = tiny("llama")
    with torch.no_grad():
        subject.model.model.layers[1].mlp.down_proj.weight[0, 0] = float("nan")
        subject.model.model.layers[0].self_attn.v_proj.weight[0, 0] = float("nan")
    request = ScoreRequest(method=method, over="safety")
    with pytest.raises(ThreatspecError, match="finite") as caught:
        score(subject, request, rows("restricted", 2), (), ArtefactStore(tmp_path))
    assert caught.value.code == "TS-DIVERGED"


def test_an_unknown_score_is_refused_with_a_hint(tmp_path: Path) -> None:
    request = ScoreRequest(method="snap", over="safety")
    with pytest.raises(ThreatspecError, match="did you mean 'snip'") as caught:
        score(tiny("llama"), request, rows("restricted", 1), (), ArtefactStore(tmp_path))
    assert caught.value.code == "TS-UNKNOWN-NAME"


def test_scoring_costs_its_passes() -> None:
    card, given = tiny("llama").card, rows("restricted", 3)
    request = ScoreRequest(method="snip", over="safety")
    spend = score_spend(card, request, given)
    length = spend.tokens // 3
    assert spend.steps == 0
    assert spend.flops == 3 * forward_flops(card, 3 * length, length)
    other = score_spend(card, ScoreRequest(method="wanda", over="safety"), given)
    assert spend.flops == 3 * other.flops


# overlap


def test_jaccard_is_of_the_highest_entries() -> None:
    own = torch.arange(100.0).view(10, 10)
    assert jaccard(own, own) == 1
    assert jaccard(own, -own) == 0
    shifted = torch.roll(own.flatten(), -2).view(10, 10)  # 3 of the 5 highest stay where they are
    assert jaccard(own, shifted + 0) == pytest.approx(_overlap(own, shifted, 5))
    with pytest.raises(ValueError, match="same entries"):
        jaccard(own, own[:5])


def _overlap(own: torch.Tensor, other: torch.Tensor, size: int) -> float:
    first, second = (set(t.flatten().argsort()[-size:].tolist()) for t in (own, other))
    return len(first & second) / len(first | second)


def test_subspace_similarity_is_one_for_the_same_and_zero_for_orthogonal_subspaces() -> None:
    frame = torch.linalg.qr(of_size(6, 6))[0]
    turned = frame[:, :2] @ torch.linalg.qr(of_size(2, 2))[0]
    assert subspace_similarity(frame[:, :2], turned) == pytest.approx(1)
    assert subspace_similarity(frame[:, :2], frame[:, 2:4]) == pytest.approx(0)
    assert subspace_similarity(frame[:, :2], frame[:, 1:3]) == pytest.approx(0.5)
