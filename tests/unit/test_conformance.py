"""The suites that plug-in authors get: the built-in components pass them, and bad ones do not."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from threatspec.attacks import ATTACKS
from threatspec.attacks.none import NoAttack
from threatspec.attacks.prefill import PrefillTamper
from threatspec.campaign import attack_cards
from threatspec.instruments import INSTRUMENTS
from threatspec.instruments.kl_profile import KlProfile
from threatspec.measures import BENCHMARKS, JUDGES, Benchmark, Item, Judge, Judgement
from threatspec.records import Curve, Outcome, Spend, Stream
from threatspec.registry import Registry
from threatspec.resources import shipped
from threatspec.safeguards import SAFEGUARDS
from threatspec.schema import JudgeUse
from threatspec.subjects import RequestTamper
from threatspec.testing import (
    AttackConformance,
    BenchmarkConformance,
    InstrumentConformance,
    JudgeConformance,
    SafeguardConformance,
)

SMALL = {
    "steps": 3, "batch_size": 2, "safety_rows": 2, "benign_rows": 2, "candidates": 8, "length": 4,
    "rounds": 2, "searched": 3, "shifted": 2, "starts": 2, "expert_steps": 2, "auxiliary_steps": 2,
}  # fmt: skip
"""What makes anything quick, where a component has such a knob."""
IDLE = {
    "adapter-finetune": frozenset({Stream.INIT, Stream.TRAIN}),
    "data-backdoor": frozenset({Stream.TRAIN}),
    "finetuned-backdoor": frozenset({Stream.TRAIN}),
    "label-shift-backdoor": frozenset({Stream.TRAIN}),
    "trojan-nn": frozenset({Stream.TRAIN}),
    "perturbation": frozenset({Stream.TRAIN}),
    "full-finetune": frozenset({Stream.TRAIN}),
    "lora-finetune": frozenset({Stream.TRAIN}),
    "freeze-finetune": frozenset({Stream.TRAIN}),
    "lota-finetune": frozenset({Stream.TRAIN}),
    "probe-heads": frozenset({Stream.INIT}),
}
"""`train` draws dropout, which these specimens do not have and the default adapter neither;
vectors that scale begin at 1; with a few rows all probes are perfect or none, and every choice of
heads is the same."""
WITH_MODELS = frozenset({"classifier", "llm"})
"""Judges that need a model; their suites run beside their tests."""
SETTINGS: dict[str, dict[str, Any]] = {
    "keywords": {"any_of": ("sure", "answer")},
    "target-class": {"target": "0"},
}
GIVEN: dict[str, dict[str, Any]] = {
    "image-purifier": {"method": "denoiser"},
    "moderation-gate": {"judge": JudgeUse(use="keywords", settings={"any_of": ["sure"]})},
}
"""Knobs that safeguards have no default for."""

SHOWN: dict[str, dict[str, Any]] = {
    "image-control": {"noise": "sign"},
    "image-perturbation": {"target_class": "3"},
    "transfer-image": {"target_class": "3", "surrogate": "specimen:mnist-plain"},
}
"""Knobs of attacks on images, which are made on a classifier."""
READ: dict[str, dict[str, Any]] = {
    "kl-profile": {"benchmark": "specimen/restricted", "prompts": 4, "tokens": 3},
    "refusal-strength": {
        "restricted": "specimen/restricted", "benign": "specimen/benign", "prompts": 6,
    },
    "token-dynamics": {
        "from": "specimen/restricted#attack_train", "n": 4, "batch_size": 4, "lr": 1e-4,
        "steps": (0, 2), "tokens": 3,
    },
}  # fmt: skip


def knobs(config: type[Any], given: dict[str, Any]) -> dict[str, Any]:
    return {**given, **{name: SMALL[name] for name in config.model_fields if name in SMALL}}


def attack_suites() -> Iterator[tuple[str, type]]:
    for kind, attack in ATTACKS:
        card = attack_cards().get(kind)
        own = {"kind": kind, "knobs": knobs(attack.Config, card.config if card else {})}
        own["idle"] = IDLE.get(kind, frozenset())
        own["folder"] = Path(__file__).parents[1] / "support"
        if kind == "multi-turn":
            own["knobs"] |= {"rewriter": "rows:turns.jsonl"}
        if kind == "transfer-suffix":
            own["knobs"] |= {"surrogate": "specimen:undefended"}
        if kind in SHOWN:
            own["knobs"] |= SHOWN[kind]
            own |= {"subject": "specimen:mnist-plain", "source": "mnist5k#attack_train"}
        yield f"TestAttack_{kind}", type(kind, (AttackConformance,), own)


def other_suites() -> Iterator[tuple[str, type]]:
    for kind in sorted(set(JUDGES.names()) - WITH_MODELS):
        own: dict[str, Any] = {"kind": kind, "settings": SETTINGS.get(kind, {})}
        yield f"TestJudge_{kind}", type(kind, (JudgeConformance,), own)
    for kind in INSTRUMENTS.names():
        own = {"kind": kind, "settings": READ[kind]}
        yield f"TestInstrument_{kind}", type(kind, (InstrumentConformance,), own)
    for kind, safeguard in SAFEGUARDS:
        own = {"kind": kind, "knobs": knobs(safeguard.Config, GIVEN.get(kind, {}))}
        yield f"TestSafeguard_{kind}", type(kind, (SafeguardConformance,), own)
    for name in BENCHMARKS.names():
        yield f"TestBenchmark_{name}", type(name, (BenchmarkConformance,), {"name": name})
    for path in sorted(shipped("claims").rglob("*.jsonl")):
        own = {"name": f"file:{path.name}", "folder": path.parent}
        if path.stem.endswith(("-rows", "-alignment")):
            own["splits"] = ("attack_train",)
        yield f"TestBenchmark_{path.stem}", type(path.stem, (BenchmarkConformance,), own)


globals().update(attack_suites())
globals().update(other_suites())


# suites that pass everything would be worth nothing


def use(monkeypatch: pytest.MonkeyPatch, registry: Registry[Any], item: Any) -> str:
    """Register a bad component for the length of one test; returns its name."""
    name = getattr(item, "kind", None) or item.name
    registry.names()
    monkeypatch.setitem(registry._items, name, item)
    return str(name)


class Drifting(NoAttack):
    """Leaves something else every time, whatever the seeds."""

    kind = "drifting"

    def run(self, context: Any, config: Any) -> Any:
        return (PrefillTamper(k=random.randint(1, 10**9)),)
        yield


class Greedy(NoAttack):
    """Says that it costs something, and spends nothing."""

    kind = "greedy"

    def cost(self, subject: Any, config: Any, data: Any) -> Spend:
        return Spend(steps=10)


class Indifferent(NoAttack):
    """Declares a stream that moves nothing."""

    kind = "indifferent"
    streams = frozenset({Stream.INIT})


class Renaming(RequestTamper):
    kind: ClassVar[str] = "renaming"

    def encode(self, request: Any) -> Any:
        return replace(request, item="another")


class Swapping(NoAttack):
    """Asks about another item than it was given."""

    kind = "swapping"

    def run(self, context: Any, config: Any) -> Any:
        return (Renaming(),)
        yield


class Vague(NoAttack):
    """Needs something that is no capability."""

    kind = "vague"
    needs: Any = (frozenset({"everything"}),)


@pytest.mark.parametrize(
    ("attack", "test"),
    [
        (Drifting(), "test_equal_seeds_leave_equal_tampers"),
        (
            Greedy(),
            "test_the_predicted_cost_is_within_a_factor_of_two_of_what_is_metered",
        ),
        (Greedy(), "test_a_budget_of_nothing_stops_whatever_costs_anything"),
        (Indifferent(), "test_every_declared_stream_matters"),
        (Swapping(), "test_a_rewritten_request_is_still_the_same_item"),
        (Vague(), "test_what_it_needs_are_sets_of_capabilities"),
    ],
    ids=lambda value: getattr(value, "kind", None),
)
def test_a_bad_attack_fails_its_suite(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, attack: Any, test: str
) -> None:
    from threatspec.testing._bench import Bench

    suite = AttackConformance()
    monkeypatch.setattr(AttackConformance, "kind", use(monkeypatch, ATTACKS, attack), raising=False)
    needs_bench = test != "test_what_it_needs_are_sets_of_capabilities"
    arguments = [Bench(tmp_path, suite.attacked)] if needs_bench else []
    with pytest.raises(AssertionError):
        getattr(suite, test)(*arguments)


class Moody(Judge):
    """Looks at the whole batch, and cannot read an empty reply."""

    kind = "moody"
    says = "yes for the longest reply"
    exact = True

    def score(self, responses: Any, config: Any) -> list[Judgement]:
        longest = max(len(r.text.split()[0]) and len(r.text) for r in responses)
        return [Judgement(Outcome.YES if len(r.text) == longest else Outcome.NO) for r in responses]


@pytest.mark.parametrize(
    ("test", "error"),
    [
        ("test_it_is_total", IndexError),
        ("test_no_response_is_no_judgement", ValueError),
        ("test_a_judgement_does_not_depend_on_the_rest_of_the_batch", (AssertionError, IndexError)),
    ],
)
def test_a_bad_judge_fails_its_suite(
    monkeypatch: pytest.MonkeyPatch, test: str, error: type[Exception]
) -> None:
    name = use(monkeypatch, JUDGES, Moody())
    monkeypatch.setattr(JudgeConformance, "kind", name, raising=False)
    with pytest.raises(error):
        getattr(JudgeConformance(), test)()


class Restless(KlProfile):
    """Draws what chance gives it, leaves its prints on the weights, and says it trains."""

    kind = "restless"

    def steps(self, config: Any) -> int:
        return 1

    def read(self, context: Any, config: Any) -> tuple[Curve, ...]:
        next(context.subject.model.parameters()).data.add_(1.0)
        return (Curve(name="kl", x=(1.0, 1.0), y=(0.0, random.random())),)


@pytest.mark.parametrize(
    "test",
    [
        "test_its_curves_can_be_drawn",
        "test_it_reads_the_same_every_time",
        "test_the_subject_and_the_store_are_as_they_were",
        "test_a_reading_takes_the_steps_that_it_said",
    ],
)
def test_a_bad_instrument_fails_its_suite(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, test: str
) -> None:
    from threatspec.testing._bench import Bench

    suite = InstrumentConformance()
    monkeypatch.setattr(
        InstrumentConformance, "kind", use(monkeypatch, INSTRUMENTS, Restless()), raising=False
    )
    monkeypatch.setattr(InstrumentConformance, "settings", READ["kl-profile"])
    with pytest.raises(AssertionError):
        getattr(suite, test)(Bench(tmp_path, suite.subject))


class Leaky(Benchmark):
    """The same prompt in two splits, the same id twice, and no licence."""

    name, says, licence, source = "leaky", "prompts", "", "a test"

    def items(self, split: str | None = None) -> tuple[Item, ...]:
        return tuple(
            Item(id="a", prompt=prompt, split=where, cluster=prompt)
            for prompt, where in (("Ask me", "attack_train"), ("ask  me", "test"))
        )


@pytest.mark.parametrize(
    "test",
    [
        "test_ids_are_unique",
        "test_no_prompt_and_no_cluster_stands_in_two_splits",
        "test_a_split_is_its_items_in_the_order_of_all",
        "test_it_says_what_it_is_and_has_a_licence_and_a_source",
    ],
)
def test_a_bad_benchmark_fails_its_suite(monkeypatch: pytest.MonkeyPatch, test: str) -> None:
    name = use(monkeypatch, BENCHMARKS, Leaky())
    monkeypatch.setattr(BenchmarkConformance, "name", name, raising=False)
    with pytest.raises((AssertionError, ValueError)):
        getattr(BenchmarkConformance(), test)()
