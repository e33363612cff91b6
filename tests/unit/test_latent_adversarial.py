"""Latent adversarial training: the balls of the inner adversary, both losses, what stays."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from tests.support.tiny_models import tiny
from threatspec.errors import ThreatspecError
from threatspec.records import ArtefactStore, Stream
from threatspec.safeguards import SAFEGUARDS, SafeguardContext
from threatspec.subjects._resident import ResidentSubject
from threatspec.subjects._wrap import wrapped
from threatspec.subjects.specimens import benign_items, restricted_items
from threatspec.training import (
    TRAINERS,
    Hyperparameters,
    Meter,
    TrainingJob,
    TrainingPolicy,
    TrainingRow,
    Trajectory,
)
from threatspec.training._adapters import adapter_settings
from threatspec.training._batches import Batch, encode
from threatspec.training._loss import logits_of
from threatspec.training._resident import ResidentTrainer
from threatspec.training.objectives.latent_adversarial import Method, away, into_ball, toward

SMALL: dict[str, Any] = {
    "steps": 3, "safety_rows": 3, "benign_rows": 2, "rank": 2, "scale": 2.0, "lr": 1e-2,
    "inner_steps": 4,
}  # fmt: skip
CHOSEN = [0, 1, 2]


def rows(kind: str, count: int) -> list[TrainingRow]:
    items = restricted_items("safeguard_train") if kind == "safety" else benign_items("attack_dev")
    return [
        TrainingRow(id=i.id, prompt=i.prompt, answer=i.answer, refusal=i.refusal)
        for i in items[:count]
    ]


def job(subject: ResidentSubject, seed: int = 1, **knobs: Any) -> TrainingJob:
    safeguard = SAFEGUARDS.get("latent-adversarial-training")
    given = SafeguardContext(
        subject=subject.card,
        safety=rows("safety", 5),
        benign=rows("benign", 4),
        seeds=dict.fromkeys(Stream, seed),
    )
    asked = next(safeguard.fit(given, safeguard.Config(**{**SMALL, **knobs})))
    assert isinstance(asked, TrainingJob)
    return asked


class opened:
    """The objective of a job on an adapted subject, before the first step."""

    def __init__(self, folder: Path, **knobs: Any) -> None:
        self.subject = tiny("llama")
        self.asked = job(self.subject, **knobs)
        self.trainer = ResidentTrainer(self.subject, ArtefactStore(folder))

    def __enter__(self) -> Method:
        adapter = self.asked.hyperparameters.adapter
        assert adapter is not None
        torch.manual_seed(0)
        self.context = wrapped(self.subject, adapter_settings(adapter))
        encoded = encode(self.subject, list(self.asked.rows), self.asked.hyperparameters)
        return Method(self.trainer, self.context.__enter__(), self.asked, encoded)

    def __exit__(self, *error: Any) -> None:
        self.context.__exit__(None, None, None)


def trained(folder: Path, asked: TrainingJob) -> Trajectory:
    trainer = TRAINERS.get("resident").on(tiny("llama"), ArtefactStore(folder))
    [found] = trainer.train([asked], TrainingPolicy(), Meter())
    return found


def gradients(method: Method) -> dict[str, torch.Tensor]:
    named = method.model.named_parameters()
    return {name: p.grad.clone() for name, p in named if p.grad is not None}


# the ball


@given(
    numbers=st.lists(st.floats(-1e4, 1e4, width=32), min_size=12, max_size=12),
    radius=st.floats(1e-3, 1e3),
)
@settings(deadline=None)
def test_no_vector_is_longer_than_its_ball_and_short_ones_are_untouched(
    numbers: list[float], radius: float
) -> None:
    vectors = torch.tensor(numbers).reshape(2, 2, 3)
    inside = into_ball(vectors, radius)
    assert (inside.norm(dim=-1) <= radius).all()
    short = vectors.norm(dim=-1) <= radius
    assert torch.equal(inside[short], vectors[short])


def test_vectors_stay_in_the_balls_of_their_layers_and_off_the_answers(tmp_path: Path) -> None:
    with opened(tmp_path, eps=0.3, inner_lr=1.0, layers=(0, 1, 2)) as method:
        pair, _ = method._parts(1, CHOSEN)
        found = method.attack(pair)
        assert set(found) == {0, 1, 2}
        for layer, vectors in found.items():
            lengths = vectors.norm(dim=-1)
            assert (lengths <= method.radius[layer]).all()
            assert lengths.max() > 0.9 * method.radius[layer]
            assert not vectors[pair.request == 0].any()
        # the first tokens of the request are the same with either answer, and no answer is touched
        starts = [row.start for row in method.rows[:3]]
        assert pair.request.sum(dim=1).tolist() == starts


def test_the_adversary_gets_what_it_wants_and_leaves_the_weights_alone(tmp_path: Path) -> None:
    with opened(tmp_path, eps=0.5, inner_steps=8) as method:
        before = {n: p.detach().clone() for n, p in method.model.named_parameters()}
        pair, _ = method._parts(1, CHOSEN)
        method.attack(pair)
        assert not gradients(method)
        assert all(torch.equal(p, before[n]) for n, p in method.model.named_parameters())
    [first], [last] = method.details["adversary_before"], method.details["adversary_after"]
    assert last < first - 0.1


# the losses


def batch_of(ids: list[list[int]], weights: list[list[float]]) -> Batch:
    tokens = torch.tensor(ids)
    mask = torch.ones_like(tokens)
    return Batch(tokens, mask, torch.tensor(weights), mask)


def test_the_losses_by_hand() -> None:
    logits = torch.log(torch.tensor([[[0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [1.0, 1.0, 1.0]]]))
    batch = batch_of([[2, 1, 1]], [[0.0, 1.0, 1.0]])
    want = -(math.log(0.3) + math.log(0.8)) / 2
    assert toward(logits, batch).item() == pytest.approx(want)
    assert away(logits, batch).item() == pytest.approx(-(math.log(0.7) + math.log(0.2)) / 2)


def test_a_certain_token_has_a_finite_loss_that_still_has_a_slope() -> None:
    logits = torch.tensor([[[60.0, 0.0], [0.0, 0.0]]], requires_grad=True)
    loss = away(logits, batch_of([[0, 0]], [[0.0, 1.0]]))
    torch.autograd.backward(loss)
    assert loss.item() == pytest.approx(60, abs=1e-3)
    assert logits.grad is not None
    assert logits.grad[0, 0, 0].item() == pytest.approx(1)


def test_without_an_adversary_it_is_plain_training(tmp_path: Path) -> None:
    knobs = {"eps": 0, "toward": 0.5, "away": 0.25, "keep": 2.0}
    with opened(tmp_path, **knobs) as method:
        loss = method.backward(1, CHOSEN)
        found = gradients(method)
        assert "adversary_before" not in method.details
        pair, kept = method._parts(1, CHOSEN)
        method.model.zero_grad(set_to_none=True)
        complying, refused = pair.half(False), pair.half(True)

        def plain(part: Batch) -> torch.Tensor:
            carries = part.weights[:, 1:] > 0
            logits = logits_of(method.model, part)[:, :-1][carries]
            return cross_entropy(logits, part.ids[:, 1:][carries])

        unlikely = away(logits_of(method.model, complying), complying)
        wanted = 0.5 * plain(refused) + 0.25 * unlikely + 2 * plain(kept)
        torch.autograd.backward(wanted)
        expected = gradients(method)
    assert loss == pytest.approx(wanted.item(), rel=1e-5)
    assert set(found) == set(expected)
    assert all(torch.allclose(found[n], expected[n], rtol=1e-3, atol=1e-5) for n in found)


def test_a_ball_without_width_costs_no_inner_steps(tmp_path: Path) -> None:
    def spent(**knobs: Any) -> float:
        with opened(tmp_path, **knobs) as method:
            return method.cost(1, CHOSEN).flops

    assert spent(eps=0, inner_steps=9) == spent(eps=0, inner_steps=1)
    assert spent(eps=1, inner_steps=9) > 2 * spent(eps=1, inner_steps=1)


def test_held_to_the_model_nothing_is_lost_at_the_start(tmp_path: Path) -> None:
    with opened(tmp_path, eps=0, toward=0, away=0, retain="model") as method:
        assert method.backward(1, CHOSEN) == pytest.approx(0, abs=1e-6)
    with opened(tmp_path, eps=0, toward=0, away=0, retain="answers") as method:
        assert method.backward(1, CHOSEN) > 0.1


# the run


def test_equal_seeds_train_equally_and_others_do_not(tmp_path: Path) -> None:
    found = [
        trained(tmp_path / str(number), job(tiny("llama"), seed=seed))
        for number, seed in enumerate((1, 1, 2))
    ]
    assert found[0].last == found[1].last != found[2].last
    assert found[0].realised.details == found[1].realised.details
    assert {len(noted) for noted in found[0].realised.details.values()} == {3}


def test_what_is_predicted_is_what_is_metered(tmp_path: Path) -> None:
    with opened(tmp_path, retain="model") as method:
        one = method.cost(1, CHOSEN)
    asked = job(tiny("llama"), retain="model")
    assert trained(tmp_path, asked).spend.steps == 3
    assert 0.5 < trained(tmp_path, asked).spend.flops / (3 * one.flops) < 2


# what is refused


def test_the_layers_of_other_depths_are_those_of_the_code_by_share() -> None:
    config = SAFEGUARDS.get("latent-adversarial-training").Config()
    assert config.perturbed(32) == (0, 8, 16, 24, 30)
    assert config.perturbed(3) == (0, 1, 2, 3)


def test_a_layer_that_is_not_there_is_refused() -> None:
    with pytest.raises(ThreatspecError, match="up to 2, but 5 is none") as caught:
        job(tiny("llama"), layers=(1, 5))
    assert caught.value.code == "TS-SAFEGUARD"


def test_without_an_adapter_there_is_no_model_to_hold_to(tmp_path: Path) -> None:
    bare = Hyperparameters(lr=1e-3, steps=1, batch_size=2)
    plain = job(tiny("llama"), retain="model").model_copy(update={"hyperparameters": bare})
    with pytest.raises(ThreatspecError, match="must be an adapter's base") as caught:
        trained(tmp_path, plain)
    assert caught.value.code == "TS-TRIAL-ERROR"


def test_a_safeguard_that_diverges_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(ThreatspecError) as caught:
        trained(tmp_path, job(tiny("llama"), lr=1.0, scale=1e38))
    assert caught.value.code == "TS-DIVERGED"
