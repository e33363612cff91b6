"""RepNoise: what its mask removes, its distance to noise, its loss term by term, its errors."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.support.specs import plan_of
from tests.support.tiny_models import TINY, tiny
from threatspec.errors import ThreatspecError
from threatspec.records import ArtefactStore, Stream
from threatspec.safeguards import SAFEGUARDS, SafeguardContext
from threatspec.subjects._resident import ResidentSubject
from threatspec.training import (
    Adapter,
    Hyperparameters,
    Meter,
    Objective,
    TrainingJob,
    TrainingPolicy,
    TrainingRow,
    Trajectory,
)
from threatspec.training._resident import ResidentTrainer
from threatspec.training.objectives._lens import final_norm, lens, mlps_of
from threatspec.training.objectives.repnoise import Method, differing, masked_loss, mmd2

SETTINGS = {"alpha": 1.0, "beta": 0.5, "noise_rows": 2, "retain": 0.0, "benign_rows": 2}
ROWS = (
    TrainingRow(
        id="one", prompt="how do i truskin a voxal ?",
        answer="sure here is how worman toxib taldiv", refusal="i am sorry i must decline",
    ),
    TrainingRow(
        id="two", prompt="tell me the pildar of trormur please",
        answer="sure here is how brordad", refusal="sorry i cannot help with that request",
    ),
)  # fmt: skip
BENIGN = (TrainingRow(id="b", prompt="how do i vulver a tumved ?", answer="sure here is how"),)


def job(**changes: Any) -> TrainingJob:
    own = {name: changes.pop(name) for name in list(changes) if name in SETTINGS}
    beside = changes.pop("beside", BENIGN)
    rows = changes.pop("rows", ROWS)
    hyper = {"lr": 1e-3, "steps": 3, "batch_size": 2, "optimizer": "adam", **changes}
    return TrainingJob(
        rows=rows,
        hyperparameters=Hyperparameters(**hyper),
        seeds=dict.fromkeys(Stream, 5),
        objective=Objective(name="repnoise", settings={**SETTINGS, **own}, beside=beside),
    )


@pytest.fixture
def subject() -> ResidentSubject:
    return tiny("llama")


@pytest.fixture
def trainer(subject: ResidentSubject, tmp_path: Path) -> ResidentTrainer:
    return ResidentTrainer(subject, ArtefactStore(tmp_path))


def method(trainer: ResidentTrainer, **changes: Any) -> Method:
    from threatspec.training._batches import encode

    asked = job(**changes)
    rows = encode(trainer.subject, asked.rows, asked.hyperparameters)
    return Method(trainer, trainer.subject.model, asked, rows)


def train(trainer: ResidentTrainer, **changes: Any) -> Trajectory:
    return trainer.train([job(**changes)], TrainingPolicy(), Meter())[0]


def gradients(model: nn.Module) -> dict[str, torch.Tensor]:
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad(set_to_none=True)
    return found


# the mask


def test_the_mask_removes_the_shared_prompt_and_nothing_of_the_answers(
    trainer: ResidentTrainer,
) -> None:
    own = method(trainer)
    complying, refused = own.pairs([0, 1])
    assert complying.ids.shape == refused.ids.shape
    mask = differing(complying, refused)
    for index, row in enumerate(own.rows):
        assert torch.equal(complying.ids[index, : row.start], refused.ids[index, : row.start])
        assert not mask[index, : row.start].any()
        longest = max(len(row.ids), len(own.refusals[index].ids))
        assert mask[index, row.start : longest].all()
        assert not mask[index, longest:].any()


def test_the_end_of_the_longer_reply_counts_though_padding_looks_like_it(
    trainer: ResidentTrainer,
) -> None:
    own = method(trainer)
    complying, refused = own.pairs([1])
    end = len(own.refusals[1].ids) - 1
    assert len(own.rows[1].ids) <= end
    assert complying.ids[0, end] == refused.ids[0, end] == trainer.subject.end
    assert differing(complying, refused)[0, end]


def test_words_that_both_replies_have_at_one_place_are_masked(trainer: ResidentTrainer) -> None:
    same = ROWS[0].model_copy(update={"answer": "i voxal sorry", "refusal": "i am sorry"})
    own = method(trainer, rows=(same,))
    start = own.rows[0].start
    complying, refused = own.pairs([0])
    assert differing(complying, refused)[0, start:].tolist() == [False, True, False, False]


# the distance to noise

samples = st.lists(
    st.lists(st.floats(-5, 5), min_size=3, max_size=3), min_size=1, max_size=5
).map(torch.tensor)  # fmt: skip


def test_the_distance_of_two_points_is_as_computed_by_hand() -> None:
    # one pair at squared distance 1: w = 1/4, 1/2, 1, 2, 4; each kernel of a point with itself is 1
    apart = sum(math.exp(-power) for power in (4, 2, 1, 0.5, 0.25))
    found = mmd2(torch.tensor([[0.0]]), torch.tensor([[1.0]])).item()
    assert found == pytest.approx(2 * 5 - 2 * apart, abs=1e-6)
    assert found == pytest.approx(6.186276, abs=1e-5)


def test_the_distance_of_two_samples_of_two_is_as_computed_by_hand() -> None:
    # 0 and 1 against 3 and 4: twelve ordered pairs, squares 1, 1, 9, 16, 4, 9, twice each
    width = 2 * (1 + 1 + 9 + 16 + 4 + 9) / 12 / 4

    def kernel(square: float) -> float:
        return sum(math.exp(-square / (width * 2**i)) for i in range(5))

    within = 2 * (2 * kernel(0) + 2 * kernel(1))
    across = 2 * (kernel(9) + kernel(16) + kernel(4) + kernel(9))
    found = mmd2(torch.tensor([[0.0], [1.0]]), torch.tensor([[3.0], [4.0]])).item()
    assert found == pytest.approx((within - across) / 4, abs=1e-5)


@given(first=samples)
def test_a_sample_is_at_no_distance_from_itself(first: torch.Tensor) -> None:
    assert mmd2(first, first.clone()).item() == pytest.approx(0, abs=1e-5)


@given(first=samples, seed=st.integers(0, 99))
def test_the_distance_is_symmetric_and_never_negative(first: torch.Tensor, seed: int) -> None:
    second = torch.randn(first.shape, generator=torch.Generator().manual_seed(seed))
    there, back = mmd2(first, second).item(), mmd2(second, first).item()
    assert there == pytest.approx(back, abs=1e-4)
    assert there > -1e-4


@settings(deadline=None)
@given(scale=st.sampled_from([0.0, 1e-6, 1.0, 1e6]))
def test_the_distance_has_finite_gradients_at_any_scale(scale: float) -> None:
    first = (scale * torch.randn(4, 8)).requires_grad_()
    mmd2(first, torch.randn(4, 8)).backward()
    assert first.grad is not None
    assert torch.isfinite(first.grad).all()


# the loss


def literal(own: Method, model: Any, seed: int) -> tuple[float, float, float]:
    """The three terms as the formula is written, row by row and token by token."""
    complying, refused = own.pairs([0, 1])
    length = complying.length
    kept: dict[int, torch.Tensor] = {}
    handles = [
        block.mlp.register_forward_hook(lambda m, i, o, at=at: kept.__setitem__(at, o))
        for at, block in enumerate(model.model.layers)
    ]
    with torch.no_grad():
        bad = model(
            input_ids=complying.ids, attention_mask=complying.mask, output_hidden_states=True
        )
        for handle in handles:
            handle.remove()
        good = model(input_ids=refused.ids, attention_mask=refused.mask).logits

        def cross_entropy(logits: torch.Tensor, batch: Any, other: Any) -> float:
            losses = []
            for row in range(len(batch.ids)):
                for t in range(1, length):
                    same = batch.ids[row, t] == other.ids[row, t]
                    if batch.mask[row, t] and not (same and other.mask[row, t]):
                        shares = torch.log_softmax(logits[row, t - 1], dim=-1)
                        losses.append(-shares[batch.ids[row, t]].item())
            return sum(losses) / len(losses)

        mask = ((complying.ids != refused.ids) | (complying.mask != refused.mask)) & (
            complying.mask > 0
        )
        draw = torch.Generator().manual_seed(seed)
        noise = []
        for at in sorted(kept):
            drawn = torch.randn(kept[at].shape, generator=draw)
            noise.append(
                mmd2(
                    (kept[at] * mask[..., None]).view(2, -1), (drawn * mask[..., None]).view(2, -1)
                )
            )
        ascents = [cross_entropy(bad.logits, complying, refused)]
        for number, state in enumerate(bad.hidden_states):
            last = number == len(bad.hidden_states) - 1
            read = model.lm_head(state if last else model.model.norm(state))
            ascents.append(cross_entropy(read, complying, refused))
    stability = cross_entropy(good, refused, complying)
    return (
        stability,
        sum(n.item() for n in noise) / len(noise),
        1 + sum(ascents) / (len(ascents) - 1),
    )


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 0.001), (0.3, 2.0), (1.0, 0.0), (0.0, 1.0)])
def test_the_loss_is_the_formula_term_by_term(
    trainer: ResidentTrainer, alpha: float, beta: float
) -> None:
    own = method(trainer, alpha=alpha, beta=beta)
    stability, noise, ascent = literal(own, trainer.subject.model, seed=5)
    found = own.backward(1, [0, 1])
    assert own.details["stability"] == [pytest.approx(stability, abs=1e-5)]
    assert own.details["noise"] == [pytest.approx(noise, abs=1e-5)]
    assert own.details["ascent"] == [pytest.approx(ascent, abs=1e-5)]
    assert found == pytest.approx(stability + beta * noise - alpha * math.log(ascent), abs=1e-5)
    assert all(torch.isfinite(grad).all() for grad in gradients(trainer.subject.model).values())


def test_without_noise_and_ascent_it_is_the_loss_of_the_refusals(trainer: ResidentTrainer) -> None:
    model = trainer.subject.model
    own = method(trainer, alpha=0.0, beta=0.0)
    found = own.backward(1, [0, 1])
    here = gradients(model)
    complying, refused = own.pairs([0, 1])
    mask = differing(complying, refused) & (refused.mask > 0)
    assert torch.equal(mask, refused.weights > 0)  # these pairs share no word at one place
    logits = model(input_ids=refused.ids, attention_mask=refused.mask).logits
    wanted = refused.ids[:, 1:].masked_fill(refused.weights[:, 1:] == 0, -100)
    loss = nn.functional.cross_entropy(logits[:, :-1].transpose(1, 2), wanted)
    loss.backward()
    assert found == pytest.approx(loss.item(), abs=1e-6)
    assert "noise" not in own.details
    for name, grad in gradients(model).items():
        torch.testing.assert_close(here[name], grad, atol=1e-6, rtol=1e-4)


def test_every_term_pulls_where_it_should(trainer: ResidentTrainer) -> None:
    hyper = {"steps": 30, "lr": 3e-3}
    noise = train(trainer, alpha=0.0, beta=10.0, **hyper).realised.details["noise"]
    assert noise[-1] < 0.9 * noise[0]
    run = train(trainer, alpha=1.0, beta=0.0, **hyper).realised
    assert run.details["ascent"][-1] > 1.2 * run.details["ascent"][0]
    assert run.details["stability"][-1] < run.details["stability"][0]
    assert run.probe_after > run.probe_before


def test_noise_is_drawn_anew_for_every_step_and_again_for_the_same_seed(
    trainer: ResidentTrainer,
) -> None:
    frozen = {"lr": 0.0, "alpha": 0.0, "steps": 4}
    first, second = (train(trainer, **frozen).realised.details["noise"] for _ in range(2))
    assert first == second
    assert len(set(first)) == 4


def test_only_so_many_rows_are_held_against_noise(trainer: ResidentTrainer) -> None:
    whole, one = method(trainer, noise_rows=9), method(trainer, noise_rows=1)
    for own in (whole, one):
        own.backward(1, [0, 1])
        gradients(trainer.subject.model)
    assert whole.details["noise"] != one.details["noise"]
    assert whole.details["ascent"] == one.details["ascent"]


def test_benign_rows_have_their_share_of_what_is_kept(trainer: ResidentTrainer) -> None:
    from threatspec.training._loss import mean_loss

    own = method(trainer, retain=0.25)
    own.backward(1, [0, 1])
    alone = method(trainer)
    alone.backward(1, [0, 1])
    benign = mean_loss(trainer.subject.model, own.beside, trainer.subject.end)
    wanted = 0.75 * alone.details["stability"][0] + 0.25 * benign
    assert own.details["stability"] == [pytest.approx(wanted, abs=1e-5)]


# any decoder


@pytest.mark.parametrize("kind", sorted(TINY))
def test_mlps_norm_and_output_layer_are_found_in_any_decoder(kind: str) -> None:
    subject = tiny(kind)
    model = subject.model
    assert len(mlps_of(model)) == 2
    ids = torch.tensor([subject.tokens("how do i truskin a voxal ?")])
    seen: list[torch.Tensor] = []
    handle = final_norm(model).register_forward_hook(lambda m, i, o: seen.append(o))
    with torch.no_grad():
        found = model(input_ids=ids, output_hidden_states=True)
        handle.remove()
        # the trap: the last hidden state is normed already, and must not be a second time
        torch.testing.assert_close(found.hidden_states[-1], seen[0])
        torch.testing.assert_close(lens(model, found.hidden_states[-1], normed=True), found.logits)


@pytest.mark.parametrize("kind", sorted(TINY))
def test_any_decoder_is_trained_and_given_back_bit_equal(kind: str, tmp_path: Path) -> None:
    subject = tiny(kind)
    before = {name: p.clone() for name, p in subject.model.named_parameters()}
    run = train(ResidentTrainer(subject, ArtefactStore(tmp_path)), retain=0.5).realised
    assert run.weight_delta > 0
    assert {len(noted) for noted in run.details.values()} == {3}
    for name, parameter in subject.model.named_parameters():
        assert torch.equal(parameter, before[name]), name


def test_an_adapter_can_be_trained_for_it(trainer: ResidentTrainer) -> None:
    run = train(trainer, adapter=Adapter(method="lora", options={"r": 2})).realised
    assert run.weight_delta > 0
    assert len(run.details["ascent"]) == 3


# what is refused


@pytest.mark.parametrize("wrong", [{"micro_batch": 1}, {"packing": True}])
def test_rows_in_parts_are_refused(trainer: ResidentTrainer, wrong: dict[str, Any]) -> None:
    with pytest.raises(ThreatspecError, match="one piece") as caught:
        train(trainer, **wrong)
    assert caught.value.code == "TS-SAFEGUARD"


def test_a_pair_that_does_not_differ_is_refused(trainer: ResidentTrainer) -> None:
    same = ROWS[0].model_copy(update={"refusal": ROWS[0].answer})
    with pytest.raises(ThreatspecError, match="must differ") as caught:
        train(trainer, rows=(same,))
    assert caught.value.code == "TS-SAFEGUARD"


def test_a_rate_that_diverges_is_refused_by_code(trainer: ResidentTrainer) -> None:
    with pytest.raises(ThreatspecError) as caught:
        train(trainer, lr=10.0, steps=60, optimizer="sgd", alpha=50.0, beta=100.0)
    assert caught.value.code == "TS-DIVERGED"


def context(subject: ResidentSubject, **changes: Any) -> SafeguardContext:
    given: dict[str, Any] = {"safety": ROWS, "benign": BENIGN, **changes}
    return SafeguardContext(
        subject=subject.card, seeds=dict.fromkeys(Stream, 1), tokens=subject.tokens, **given
    )


def asked(subject: ResidentSubject, given: dict[str, Any], **knobs: Any) -> TrainingJob:
    safeguard = SAFEGUARDS.get("repnoise")
    asks: Iterator[Any] = safeguard.fit(context(subject, **given), safeguard.Config(**knobs))
    found: TrainingJob = next(asks)
    return found


def test_defaults_are_the_published_ones(subject: ResidentSubject) -> None:
    found = asked(subject, {})
    assert found.objective is not None
    assert not found.objective.beside
    assert found.objective.settings["alpha"] == 1
    assert found.objective.settings["beta"] == 0.001
    hyper = found.hyperparameters
    assert (hyper.lr, hyper.batch_size, hyper.steps) == (2e-5, 8, 1250)
    assert (hyper.optimizer, hyper.schedule, hyper.warmup_steps) == ("adam", "cosine", 125)


@pytest.mark.parametrize(
    ("given", "knobs"),
    [
        ({"safety": ()}, {}),
        ({"safety": (ROWS[0].model_copy(update={"refusal": " "}),)}, {}),
        ({"benign": ()}, {"retain": 0.5}),
    ],
)
def test_rows_that_are_missing_are_refused(
    subject: ResidentSubject, given: dict[str, Any], knobs: dict[str, Any]
) -> None:
    with pytest.raises(ThreatspecError) as caught:
        asked(subject, given, **knobs)
    assert caught.value.code == "TS-SAFEGUARD"


@pytest.mark.parametrize(
    "knobs", [{"alpha": 0, "beta": 0}, {"alpha": -1}, {"beta": -1}, {"retain": 1}, {"lr": 0}]
)
def test_weights_out_of_range_are_refused(knobs: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"alpha|beta|retain|lr"):
        SAFEGUARDS.get("repnoise").Config(**knobs)


def test_the_loss_of_no_position_but_those_of_the_mask_counts(trainer: ResidentTrainer) -> None:
    batch, _ = method(trainer).pairs([0, 1])
    mask = torch.zeros_like(batch.ids, dtype=torch.bool)
    mask[0, 3] = True
    logits = torch.zeros(*batch.ids.shape, 1200)
    logits[0, 2, batch.ids[0, 3]] = 50.0
    assert masked_loss(logits, batch, mask).item() == pytest.approx(0, abs=1e-5)


# who knows it


@pytest.mark.parametrize("aware", [True, False])
def test_adversaries_who_know_it_make_the_attacks_that_are_known_to_pass_it(
    tmp_path: Path, aware: bool
) -> None:
    tuner = "adversaries.tuner"
    plan = plan_of(
        tmp_path,
        {
            "subject.safeguards": [{"kind": "repnoise", "fitted": True}],
            f"{tuner}.knowledge": {"safeguard": "aware" if aware else "unaware"},
            f"{tuner}.data.benign": {"n": 20, "from": "specimen/benign#attack_train"},
            f"{tuner}.compute": {"steps": 300, "configurations": 20},
        },
    )
    made = {procedure.card for procedure in plan.procedures.values()}
    names = ("faster", "longer", "schedule", "lora", "benign", "identity")
    known = {f"adaptive-repnoise-{name}" for name in names}
    assert made - {"full-finetune"} == (known if aware else set())
