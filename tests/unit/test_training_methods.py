"""Every method on every architecture: it trains, mounts, is asked, and leaves no trace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.tiny_models import TINY, tiny
from threatspec.errors import ThreatspecError
from threatspec.records import ArtefactStore, Stream
from threatspec.schema import Serving
from threatspec.subjects import Request, WeightTamper
from threatspec.subjects._mount import mount
from threatspec.subjects._resident import ResidentSubject
from threatspec.training import (
    ADAPTERS,
    Adapter,
    Hyperparameters,
    MaskUse,
    Meter,
    Perturbation,
    TrainingJob,
    TrainingPolicy,
    TrainingRow,
    Trajectory,
)
from threatspec.training._batches import encode
from threatspec.training._loss import mean_loss
from threatspec.training._resident import ResidentTrainer

SEEDS = {Stream.INIT: 1, Stream.ORDER: 2, Stream.TRAIN: 3}
ROWS = tuple(
    TrainingRow(id=word, prompt=f"how to velmar {word}", answer=f"sure here is how {word}")
    for word in ("tessik", "zirkam", "orrin velmar", "the")
)
REQUESTS = [
    Request("a", "how to velmar tessik"),
    Request("b", "tell me"),
    Request("c", "how to the help meaning is jeskish"),
]
SMALL: dict[str, dict[str, Any]] = {
    "fourierft": {"n_frequency": 50},
    "prefix": {"num_virtual_tokens": 4},
    "prompt": {"num_virtual_tokens": 4},
    "p-tuning": {"num_virtual_tokens": 4},
}


@pytest.fixture(scope="module", params=sorted(TINY))
def subject(request: pytest.FixtureRequest) -> ResidentSubject:
    return tiny(request.param)


@pytest.fixture
def store(tmp_path: Path) -> ArtefactStore:
    return ArtefactStore(tmp_path)


def trained(
    subject: ResidentSubject, store: ArtefactStore, *, mask: MaskUse | None = None, **hyper: Any
) -> Trajectory:
    settings = Hyperparameters(**{"lr": 0.05, "steps": 10, "batch_size": 4, **hyper})
    job = TrainingJob(rows=ROWS, hyperparameters=settings, seeds=SEEDS, mask=mask)
    [done] = ResidentTrainer(subject, store).train([job], TrainingPolicy(), Meter())
    return done


def adapter(method: str) -> Adapter:
    return Adapter(method=method, options=SMALL.get(method, {}))


def loss(subject: ResidentSubject) -> float:
    rows = {(row.ids, row.start): row for row in encode(subject, ROWS)}
    return mean_loss(subject.model, list(rows.values()), subject.end)


def replies(subject: ResidentSubject, size: int) -> list[str]:
    asked = subject.generate(REQUESTS, Serving(max_tokens=6), micro_batch=size)
    return [generation.reply for generation in asked]


def trace(subject: ResidentSubject) -> Any:
    """All that training and mounting could leave behind."""
    model = subject.model
    bits = [(n, p.detach().numpy().tobytes(), p.requires_grad) for n, p in model.named_parameters()]
    modules = [(name, id(module), sorted(vars(module))) for name, module in model.named_modules()]
    hooks = [len(module._forward_hooks) for module in model.modules()]
    return bits, modules, hooks, id(model), model.training


def check(subject: ResidentSubject, store: ArtefactStore, done: Trajectory) -> None:
    """Mounted, it has the loss that training ended with, and other replies; whoever is asked."""
    untouched, before = replies(subject, 3), trace(subject)
    assert done.realised.probe_after < done.realised.probe_before - 0.2
    assert done.realised.weight_delta > 0
    with mount(subject, [done.last], store):
        assert loss(subject) == pytest.approx(done.realised.probe_after, abs=1e-4)
        together = replies(subject, 3)
        assert together == replies(subject, 1)
        assert together != untouched
    assert trace(subject) == before
    assert replies(subject, 3) == untouched


LINEAR_ONLY = {"loha", "lokr", "oft", "hra", "miss"}


def impossible(subject: ResidentSubject, method: str) -> bool:
    kind = subject.model.config.model_type
    return (
        (method == "llama-adapter" and kind not in {"llama", "gpt2"})
        or (method in LINEAR_ONLY and kind == "gpt2")
        or (method == "dora" and kind == "mixtral")
    )


@pytest.mark.parametrize("method", ADAPTERS)
def test_adapters(subject: ResidentSubject, store: ArtefactStore, method: str) -> None:
    before = trace(subject)
    if impossible(subject, method):
        with pytest.raises(ThreatspecError, match="targets must name layers of path:tiny") as error:
            trained(subject, store, adapter=adapter(method))
        assert error.value.code == "TS-TARGETS"
    else:
        done = trained(subject, store, adapter=adapter(method))
        assert trace(subject) == before
        assert trained(subject, store, adapter=adapter(method)).last == done.last
        check(subject, store, done)
    assert trace(subject) == before


def test_all_weights(subject: ResidentSubject, store: ArtefactStore) -> None:
    before = trace(subject)
    done = trained(subject, store, lr=1e-2)
    assert trace(subject) == before
    assert done.realised.trainable == subject.card.parameters
    check(subject, store, done)


@pytest.mark.parametrize("layers", [(0,), (1, 2)])
def test_perturbations(
    subject: ResidentSubject, store: ArtefactStore, layers: tuple[int, ...]
) -> None:
    before = trace(subject)
    done = trained(subject, store, lr=0.1, perturbation=Perturbation(layers=layers, eps=2.0))
    assert trace(subject) == before
    assert done.realised.trainable == len(layers) * subject.card.hidden
    vectors = store.load(done.last.artefact)
    assert set(vectors) == {str(layer) for layer in layers}
    squares = sum(float(vector.double().square().sum()) for vector in vectors.values())
    assert done.realised.weight_delta == pytest.approx(squares**0.5, rel=1e-5)
    check(subject, store, done)


def test_packed_rows_do_not_see_one_another(subject: ResidentSubject, store: ArtefactStore) -> None:
    plain = trained(subject, store, lr=1e-3, optimizer="sgd")
    packed = trained(subject, store, lr=1e-3, optimizer="sgd", packing=True)
    assert packed.spend.tokens < plain.spend.tokens
    assert packed.realised.loss_tokens == plain.realised.loss_tokens
    for name in ("loss", "grad_norm"):
        wanted = pytest.approx(getattr(plain.realised, name), rel=2e-4)
        assert getattr(packed.realised, name) == wanted
    first, second = store.load(plain.last.artefact), store.load(packed.last.artefact)
    own = dict(subject.model.named_parameters())
    way = sum(float((first[n] - own[n].detach()).square().sum()) for n in first) ** 0.5
    apart = sum(float((first[n] - second[n]).square().sum()) for n in first) ** 0.5
    assert apart <= 1e-3 * way


def test_frozen_weights_are_bit_equal(subject: ResidentSubject, store: ArtefactStore) -> None:
    own = dict(subject.model.named_parameters())
    chosen = {name: torch.rand(p.shape) < 0.3 for name, p in own.items()}
    use = MaskUse(artefact=store.save(chosen), mode="freeze")
    done = trained(subject, store, mask=use, weight_decay=0.1)
    after = store.load(done.last.artefact)
    for name, held in chosen.items():
        assert torch.equal(after[name][held], own[name].detach()[held])
    assert any(not torch.equal(after[n], own[n].detach()) for n in after)
    assert done.realised.frozen == sum(int(held.sum()) for held in chosen.values())


# one architecture is enough for what follows


@pytest.fixture(scope="module")
def llama() -> ResidentSubject:
    return tiny("llama")


@pytest.mark.parametrize("method", [m for m, row in ADAPTERS.items() if row.mergeable])
def test_the_change_of_the_weights_is_that_of_merging(
    store: ArtefactStore, method: str, llama: ResidentSubject
) -> None:
    _check_merged(llama, store, trained(llama, store, adapter=adapter(method)))


def test_fused_experts_are_adapted_and_count(store: ArtefactStore) -> None:
    subject = tiny("mixtral")
    done = trained(subject, store, adapter=adapter("lora"))
    assert any(".experts." in name for name in store.load(done.last.artefact))
    _check_merged(subject, store, done)


def _check_merged(subject: ResidentSubject, store: ArtefactStore, done: Trajectory) -> None:
    own = {n: p.detach().clone() for n, p in subject.model.named_parameters()}
    with mount(subject, [done.last], store):
        merged = dict(subject.model.merge_and_unload().named_parameters())
        squares = sum(float((merged[n].detach() - own[n]).double().square().sum()) for n in own)
        for name, tensor in own.items():
            merged[name].data = tensor
    assert done.realised.weight_delta == pytest.approx(squares**0.5, rel=1e-4)


def test_learning_rate_zero_moves_no_adapter(llama: ResidentSubject, store: ArtefactStore) -> None:
    for method in ADAPTERS:
        done = trained(llama, store, lr=0.0, steps=2, adapter=adapter(method)).realised
        # a rotation by nothing, merged, is one up to rounding
        assert done.weight_delta <= 1e-5 or method == "fourierft", method
        assert done.probe_after == pytest.approx(done.probe_before, abs=2e-6)


def test_virtual_tokens_are_charged(llama: ResidentSubject, store: ArtefactStore) -> None:
    plain = trained(llama, store, adapter=adapter("lora")).spend
    prompt = trained(llama, store, adapter=adapter("prompt")).spend
    prefix = trained(llama, store, adapter=adapter("prefix")).spend
    assert prompt.tokens == plain.tokens + 10 * 4 * 4
    assert prefix.tokens == plain.tokens


def test_a_perturbation_stays_in_its_ball(llama: ResidentSubject, store: ArtefactStore) -> None:
    asked = Perturbation(layers=(0, 1), eps=0.05)
    done = trained(llama, store, lr=1.0, perturbation=asked)
    from threatspec.training._perturbation import mean_norms

    norms = mean_norms(llama.model, encode(llama, ROWS), asked.layers, llama.end)
    for layer, vector in store.load(done.last.artefact).items():
        assert float(vector.norm()) == pytest.approx(0.05 * norms[int(layer)], rel=1e-4)


def test_the_mean_norm_is_that_of_hidden_states(llama: ResidentSubject) -> None:
    from threatspec.training._perturbation import mean_norms

    [row] = encode(llama, ROWS[:1])
    with torch.no_grad():
        states = llama.model(torch.tensor([row.ids]), output_hidden_states=True).hidden_states
    norms = mean_norms(llama.model, [row], (0, 1), llama.end)
    for layer in (0, 1):
        assert norms[layer] == pytest.approx(float(states[layer].norm(dim=-1).mean()), rel=1e-5)


@pytest.mark.parametrize(
    ("hyper", "code"),
    [
        ({"perturbation": Perturbation(layers=(3,))}, "TS-TARGETS"),
        ({"adapter": Adapter(method="lorra")}, "TS-TRIAL-ERROR"),
        ({"adapter": Adapter(options={"rang": 3})}, "TS-TRIAL-ERROR"),
        ({"adapter": Adapter(options={"target_modules": ["query"]})}, "TS-TARGETS"),
        ({"adapter": adapter("prompt"), "packing": True}, "TS-TRIAL-ERROR"),
        ({"adapter": adapter("prefix"), "packing": True}, "TS-TRIAL-ERROR"),
        ({"adapter": Adapter(), "perturbation": Perturbation()}, "TS-TRIAL-ERROR"),
        ({"adapter": Adapter(method="prefix", options={"num_virtual_tokens": 125})}, "TS-DATA"),
    ],
)
def test_what_cannot_be_trained_is_a_coded_error(
    llama: ResidentSubject, store: ArtefactStore, hyper: dict[str, Any], code: str
) -> None:
    before = trace(llama)
    with pytest.raises(ThreatspecError) as error:
        trained(llama, store, **hyper)
    assert error.value.code == code
    assert trace(llama) == before


def test_an_adapter_beside_an_adapter_is_an_error_not_a_mixture(
    llama: ResidentSubject, store: ArtefactStore
) -> None:
    first = trained(llama, store, adapter=adapter("lora")).last
    with (
        mount(llama, [first], store),
        pytest.raises(ThreatspecError, match="there is one already") as error,
    ):
        trained(llama, store, adapter=adapter("lora"))
    assert error.value.code == "TS-TRIAL-ERROR"


def test_all_weights_are_trained_under_a_mounted_adapter(
    llama: ResidentSubject, store: ArtefactStore
) -> None:
    before = trace(llama)
    first = trained(llama, store, adapter=adapter("lora")).last
    with mount(llama, [first], store):
        whole = sum(parameter.numel() for parameter in llama.model.parameters())
        second = trained(llama, store, lr=1e-2)
        assert second.realised.trainable == whole
    with mount(llama, [first, second.last], store):
        assert loss(llama) == pytest.approx(second.realised.probe_after, abs=1e-4)
    assert trace(llama) == before


def test_a_model_that_lets_packed_rows_see_one_another_is_refused(store: ArtefactStore) -> None:
    subject = tiny("llama")

    def deaf(_module: Any, given: Any, named: Any) -> Any:
        return given, {**named, "position_ids": torch.arange(named["input_ids"].shape[1])[None]}

    handle = subject.model.register_forward_pre_hook(deaf, with_kwargs=True)
    with pytest.raises(ThreatspecError, match="see one another") as error:
        trained(subject, store, packing=True)
    handle.remove()
    assert error.value.code == "TS-TRIAL-ERROR"


def test_a_tampered_form_says_what_it_is(llama: ResidentSubject, store: ArtefactStore) -> None:
    forms = {
        "dense": trained(llama, store),
        "adapter": trained(llama, store, adapter=adapter("ia3")),
        "perturbation": trained(llama, store, perturbation=Perturbation()),
    }
    for form, done in forms.items():
        assert isinstance(done.last, WeightTamper)
        assert done.last.form == form
