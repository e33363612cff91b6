"""Attacks: their parts and cards, what they need, ask for and leave, and what they cost."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import threatspec.attacks
from tests.support.specs import TUNER, load, problems_of, write_benchmark
from threatspec.attacks import (
    ATTACKS,
    AttackConfig,
    AttackContext,
    DataCard,
    Surface,
    training_rows,
)
from threatspec.attacks.prefill import PrefillTamper
from threatspec.campaign import attack_cards, check_spec
from threatspec.errors import SpecErrors, ThreatspecError
from threatspec.measures import benchmark
from threatspec.records import ArtefactStore, Realised, Spend, Stream
from threatspec.resources import shipped
from threatspec.schema import PRESETS, Capability, Serving, each_value, field_docs
from threatspec.subjects import Offer, Request, SubjectCard, WeightTamper, describe
from threatspec.subjects._resident import ResidentSubject
from threatspec.training import Meter, TrainingJob, TrainingPolicy, TrainingRow, Trajectory
from threatspec.training._resident import ResidentTrainer

ROOM = Path(threatspec.attacks.__file__).parent
KINDS = ATTACKS.names()
MINIMAL: dict[str, dict[str, Any]] = {
    "adapter-finetune": {"lr": 1e-3, "steps": 3},
    "freeze-finetune": {"lr": 1e-3, "steps": 3},
    "full-finetune": {"lr": 1e-4, "steps": 3},
    "lora-finetune": {"lr": 1e-3, "steps": 3},
    "lota-finetune": {"lr": 1e-3, "steps": 3},
    "perturbation": {"lr": 1e-3, "steps": 3},
    "prefill": {"k": 2},
    "suffix": {"file": "words.txt", "sha256": "0" * 64},
}
"""The knobs that have no default, where there are any."""
WORDS = (Path(__file__).parents[1] / "support" / "suffix.txt").read_bytes()
"""Of the file that the card of `suffix` names."""


@pytest.fixture(scope="module")
def shallow() -> ResidentSubject:
    return ResidentSubject.load("specimen:shallow")


# cards


@pytest.mark.parametrize("path", sorted(shipped("attacks").glob("*.yaml")), ids=lambda p: p.stem)
def test_a_card_names_an_attack_has_a_valid_configuration_and_a_source(path: Path) -> None:
    card = attack_cards()[path.stem]
    attack = ATTACKS.get(card.attack)
    for knobs in each_value(attack.Config, card.config):
        attack.Config.model_validate_json(json.dumps(knobs))
    assert set(card.config) <= set(attack.Config.model_fields)
    assert card.says.endswith(".")
    for text in (card.source.work, card.source.section):
        assert text.strip()


def test_every_yaml_file_is_a_card_and_every_attack_has_one() -> None:
    assert set(attack_cards()) == {path.stem for path in shipped("attacks").iterdir()}
    assert {card.attack for card in attack_cards().values()} == set(KINDS)


# parts


@pytest.mark.parametrize("kind", KINDS)
def test_an_attack_has_all_its_parts(kind: str) -> None:
    attack = ATTACKS.get(kind)
    assert attack.kind == kind
    assert attack.says
    assert attack.surface in Surface
    assert attack.streams <= set(Stream)
    assert all(need and need <= set(Capability) for need in attack.needs)
    assert issubclass(attack.Config, AttackConfig)
    assert not attack.uses_rows or Stream.DATA_SUBSET in attack.streams
    assert attack.Config(**MINIMAL.get(kind, {}))


@pytest.mark.parametrize("kind", KINDS)
def test_one_file_holds_one_attack_with_its_parts_in_order(kind: str) -> None:
    tree = ast.parse((ROOM / f"{kind.replace('-', '_')}.py").read_text(encoding="utf-8"))
    classes = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
    name = type(ATTACKS.get(kind)).__name__
    assert classes[0] == ATTACKS.get(kind).Config.__name__ == f"{name}Config"
    assert classes[-1] == name
    assert ast.unparse(tree.body[-1]) == f"ATTACKS.register({name}.kind, {name}())"


def test_every_file_of_the_room_is_registered() -> None:
    own = {path.stem for path in ROOM.glob("[a-z]*.py")} - {"base"}
    assert {kind.replace("-", "_") for kind in KINDS} == own


@pytest.mark.parametrize("kind", KINDS)
def test_every_knob_says_what_it_is(kind: str) -> None:
    config = ATTACKS.get(kind).Config
    for name in config.model_fields:
        assert field_docs(config).get(name, "").endswith("."), f"{kind}: {name}"


@pytest.mark.parametrize("kind", KINDS)
def test_a_knob_that_an_attack_does_not_have_is_refused(kind: str) -> None:
    with pytest.raises(ValidationError, match="extra_forbidden"):
        ATTACKS.get(kind).Config(**MINIMAL.get(kind, {}), learning_rate=1e-4)


@pytest.mark.parametrize(
    ("kind", "knobs"),
    [
        ("prefill", {"k": 0}),
        ("prefill", {"k": 2.5}),
        ("full-finetune", {"lr": -1e-4}),
        ("full-finetune", {"lr": float("nan")}),
        ("full-finetune", {"steps": 0}),
        ("full-finetune", {"batch_size": 0}),
        ("full-finetune", {"schedule": "step"}),
        ("full-finetune", {"clip_norm": 0.0}),
        ("lora-finetune", {"rank": 0}),
        ("lora-finetune", {"alpha": 0.0}),
        ("lora-finetune", {"dropout": 1.0}),
    ],
)
def test_a_knob_outside_its_range_is_refused(kind: str, knobs: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ATTACKS.get(kind).Config(**{**MINIMAL.get(kind, {}), **knobs})


# access

BY_ROWS = {"adapter-finetune", "full-finetune", "lora-finetune"} & set(KINDS)
"""Training whose knobs a provider may let its customers set."""
SEEN = {kind for kind in KINDS if Offer.TEXT not in ATTACKS.get(kind).offers} - {"none"}
"""What a subject that is asked in words alone does not admit."""
READ = {"decoding-exploit", "gcg-suffix", "prefill", "random-suffix"}
"""What whoever runs the weights can do."""
ASKED = {"multi-turn", "mutation", "none", "suffix", "transfer-suffix"}
"""What everybody can do who may ask."""
SERVED = {"hosted-finetune", "serving-exploit"} | READ | ASKED
WEIGHTS = set(KINDS) - BY_ROWS - SERVED - SEEN
"""What nobody but the holder of the weights can do."""
ADMITTED = {
    "chat-api": ASKED,
    "completion-api": ASKED | {"decoding-exploit", "prefill", "random-suffix", "serving-exploit"},
    "finetuning-api": ASKED | {"decoding-exploit", "hosted-finetune"} | BY_ROWS,
    "open-weights": set(KINDS) - SEEN,
    "data-supplier": {"none"},
}


def admitted(folder: Path, access: str | list[str], kind: str) -> bool:
    data = {**TUNER["data"], "benign": {"n": 10, "from": "specimen/benign#attack_train"}}
    (folder / "suffix.txt").write_bytes(WORDS)
    adversary = {**TUNER, "access": access, "attacks": [kind], "data": data, "compute": {},
                 "owns": {"rewriter": "endpoint:http://127.0.0.1:1/v1#writer",
                          "surrogate": "specimen:undefended"}}  # fmt: skip
    try:
        check_spec(load(folder, {"adversaries.tuner": adversary}))
    except SpecErrors as errors:
        if {problem.code for problem in errors.problems} != {"TS-ACCESS"}:
            raise
        return False
    return True


def test_the_table_below_has_every_preset() -> None:
    assert set(ADMITTED) == set(PRESETS)


@pytest.mark.parametrize("preset", PRESETS)
def test_an_attack_is_admitted_by_the_presets_that_have_what_it_needs(
    tmp_path: Path, preset: str
) -> None:
    assert {kind for kind in KINDS if admitted(tmp_path, preset, kind)} == ADMITTED[preset]


@pytest.mark.parametrize(
    ("access", "kinds"),
    [
        (["prefill"], {"none", "prefill"}),
        (["chat"], ASKED),
        (["decoding"], {"none", "decoding-exploit"}),
        (["gradients"], {"none", "gcg-suffix"}),
        (["logprobs"], {"none", "random-suffix"}),
        (["weights_read"], {"none"} | READ),
        (["weights_write"], {"none", "serving-exploit"} | BY_ROWS | WEIGHTS),
        (["finetune_data"], {"none", "hosted-finetune"}),
        (["finetune_hyperparameters"], {"none"}),
        (
            ["finetune_data", "finetune_hyperparameters"],
            {"none", "hosted-finetune"} | BY_ROWS,
        ),
    ],
)
def test_an_attack_is_admitted_by_capabilities_one_by_one(
    tmp_path: Path, access: list[str], kinds: set[str]
) -> None:
    assert {kind for kind in KINDS if admitted(tmp_path, access, kind)} == kinds


def test_an_attack_that_access_does_not_admit_says_what_it_needs(tmp_path: Path) -> None:
    adversary = {**TUNER, "access": "chat-api", "attacks": ["prefill"]}
    [problem] = problems_of(tmp_path, {"adversaries.tuner": adversary})
    assert problem.message == (
        "prefill needs prefill or weights_read, but access 'chat-api' does not admit it"
    )


# what they ask for and what they leave

ROWS = (TrainingRow(id="a", prompt="p", answer="x"), TrainingRow(id="b", prompt="q", answer="y"))


def context(kind: str, subject: SubjectCard | None = None, rows: Any = ROWS) -> AttackContext:
    seeds = {stream: number for number, stream in enumerate(sorted(ATTACKS.get(kind).streams))}
    return AttackContext(subject=subject or describe("specimen:shallow"), rows=rows, seeds=seeds)


def left_without_asking(kind: str, config: AttackConfig) -> Any:
    with pytest.raises(StopIteration) as stopped:
        next(ATTACKS.get(kind).run(context(kind), config))
    return stopped.value.value


def test_none_asks_for_nothing_leaves_nothing_and_costs_nothing() -> None:
    attack = ATTACKS.get("none")
    assert left_without_asking("none", attack.Config()) == ()
    assert attack.cost(describe("specimen:deep"), attack.Config(), None) == Spend()
    assert not attack.streams


def test_prefill_asks_for_nothing_leaves_rewritten_requests_and_costs_nothing() -> None:
    attack = ATTACKS.get("prefill")
    assert left_without_asking("prefill", attack.Config(k=7)) == (PrefillTamper(k=7),)
    assert attack.cost(describe("specimen:deep"), attack.Config(k=7), None) == Spend()
    assert not attack.streams


KNOBS: dict[str, Any] = {
    "lr": 0.01, "steps": 9, "batch_size": 3, "micro_batch": 2, "optimizer": "sgd",
    "betas": (0.5, 0.9), "eps": 1e-6, "momentum": 0.9, "nesterov": True,
    "schedule": "cosine-restarts", "warmup_steps": 2, "min_lr": 1e-5, "cycle_steps": 4,
    "decay": 0.5, "weight_decay": 0.5, "clip_norm": 1.5, "clip": "tensor", "loss_on": "all",
    "max_length": 64, "packing": True, "drop_last": True, "shuffle": False,
}  # fmt: skip
"""No knob at its default."""
OWN: dict[str, dict[str, Any]] = {
    "adapter-finetune": {"method": "loha", "rank": 3, "alpha": 5.0, "dropout": 0.25},
    "full-finetune": {},
    "lora-finetune": {"rank": 3, "alpha": 5.0, "dropout": 0.25, "targets": ("q_proj",)},
    "perturbation": {"layers": (0, 2), "radius": 0.5},
}
MADE: dict[str, dict[str, Any]] = {
    "adapter-finetune": {
        "adapter": {"method": "loha", "options": {"r": 3, "alpha": 5.0, "rank_dropout": 0.25}}
    },
    "full-finetune": {},
    "lora-finetune": {
        "adapter": {
            "method": "lora",
            "options": {
                "r": 3, "lora_alpha": 5.0, "lora_dropout": 0.25, "target_modules": ["q_proj"],
            },
        }
    },
    "perturbation": {"perturbation": {"layers": (0, 2), "eps": 0.5}},
}  # fmt: skip


@pytest.mark.parametrize("kind", OWN)
def test_fine_tuning_asks_once_for_all_rows_and_leaves_the_last_checkpoint(kind: str) -> None:
    attack = ATTACKS.get(kind)
    config = attack.Config(**KNOBS, model_dropout=0.125, **OWN[kind])
    given = {"recipe", "epochs", "model_dropout", *KNOBS, *OWN[kind]}
    assert set(type(config).model_fields) - given <= {"tokens", "blocks", "targets", "options"}
    asked = attack.run(context(kind), config)
    job = next(asked)
    assert isinstance(job, TrainingJob)
    assert job.rows == ROWS
    assert job.seeds == context(kind).seeds
    wanted = job.hyperparameters.model_dump()
    nothing = {"adapter": None, "perturbation": None, "hosted": None}
    assert wanted == {**KNOBS, "dropout": 0.125, **nothing, **MADE[kind]}
    with pytest.raises(StopIteration) as stopped:
        asked.send(trajectory({3: "early", 9: "late"}))
    assert [tamper.artefact for tamper in stopped.value.value] == ["late"]


@pytest.mark.parametrize(
    ("knobs", "steps"),
    [({}, 9), ({"drop_last": True}, 6), ({"batch_size": 100}, 3), ({"recipe": "plain"}, 9)],
)
def test_epochs_become_steps_of_so_many_rows(knobs: dict[str, Any], steps: int) -> None:
    config = ATTACKS.get("full-finetune").Config(lr=0.1, epochs=3, **{"batch_size": 10, **knobs})
    assert config.runs == ()
    settled = config.settled(25)
    assert (settled.steps, settled.epochs, settled.runs) == (steps, None, (steps,))
    assert type(settled).model_validate_json(settled.model_dump_json()) == settled
    cost = ATTACKS.get("full-finetune").cost
    card, data = describe("specimen:shallow"), DataCard(rows=25, words=10)
    assert cost(card, config, data) == cost(card, settled, data)
    with pytest.raises(ValueError, match="settled into steps"):
        config.hyperparameters()


@pytest.mark.parametrize(
    ("knobs", "rule"),
    [
        ({"steps": None}, "steps or epochs must be given"),
        ({"epochs": 2}, "steps or epochs must be given"),
        ({"min_lr": 0.2}, "min_lr must be at most lr"),
        ({"momentum": 0.9}, "momentum must go with sgd or rmsprop"),
        ({"nesterov": True, "optimizer": "sgd"}, "nesterov must go with"),
        ({"cycle_steps": 3}, "cycle_steps must go with"),
        ({"loss_on": "padded"}, "padding must have a max_length"),
        ({"loss_on": "padded", "max_length": 64, "packing": True}, "packing must go without"),
    ],
)
def test_knobs_that_do_not_go_together_are_refused(knobs: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValidationError, match=rule):
        ATTACKS.get("full-finetune").Config(**{"lr": 0.1, "steps": 3, **knobs})


@pytest.mark.parametrize(
    ("knobs", "rule"),
    [
        ({"method": "prefx"}, "did you mean 'prefix'"),
        ({"method": "prefix", "rank": 3}, "rank must be a knob of the method, but prefix"),
        ({"method": "ln-tuning", "targets": "all-linear"}, "targets must be a knob"),
        ({"method": "ia3", "tokens": 3}, "tokens must be a knob"),
    ],
)
def test_knobs_that_an_adapter_does_not_have_are_refused(knobs: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValidationError, match=rule):
        ATTACKS.get("adapter-finetune").Config(lr=0.1, steps=3, **knobs)


@pytest.mark.parametrize(
    ("knobs", "rank"),
    [
        ({"method": "lora"}, 8),
        ({"method": "rslora", "rank": 3}, 3),
        ({"method": "dora"}, None),
        ({"method": "ia3"}, None),
    ],
)
def test_the_rank_of_a_change_is_known_where_it_is_bounded(
    knobs: dict[str, Any], rank: int | None
) -> None:
    assert ATTACKS.get("adapter-finetune").Config(lr=0.1, steps=3, **knobs).change_rank == rank


def trajectory(names: dict[int, str]) -> Trajectory:
    kept = {step: WeightTamper(artefact=name, form="dense") for step, name in names.items()}
    realised = Realised(
        backend="resident", steps=9, rows=2, trainable=1, lr=(), loss=(), loss_tokens=(),
        grad_norm=(), weight_delta=0.0, probe_before=0.0, probe_after=0.0,
    )  # fmt: skip
    return Trajectory(kept, realised, Spend())


# prefill

ITEM = benchmark("specimen/restricted", Path()).items("test")[0]


def written(subject: ResidentSubject, answer: str, k: int | None) -> tuple[list[int], str]:
    """Token ids after the prompt's own, and the text the attacker is said to have written."""
    request = Request(item="a", prompt=ITEM.prompt, answer=answer)
    bare, _, _ = subject.render(request, Serving())
    tampered = request if k is None else PrefillTamper(k=k).encode(request)
    ids, text, attacker = subject.render(tampered, Serving())
    assert ids[: len(bare)] == bare
    assert answer not in text
    return ids[len(bare) :], attacker


@pytest.mark.parametrize("k", [1, 2, 4, 9])
def test_prefill_writes_exactly_the_first_k_tokens(shallow: ResidentSubject, k: int) -> None:
    ids, attacker = written(shallow, ITEM.answer, k)
    assert ids == shallow.tokens(ITEM.answer)[:k]
    assert len(ids) == k
    assert attacker == " ".join(ITEM.answer.split()[:k])


def test_prefill_cuts_between_tokens_not_between_words(shallow: ResidentSubject) -> None:
    subject = ResidentSubject(shallow.card, shallow.model, _pieces(["surely here", "sure he"]))
    whole = subject.tokens("surely here")
    assert len(whole) > 3
    for k in range(1, len(whole) + 1):
        ids, attacker = written(subject, "surely here", k)
        assert ids == whole[:k]
        assert attacker == subject.tokenizer.decode(whole[:k]).strip()


def _pieces(texts: list[str]) -> Any:
    """A byte-pair tokenizer whose tokens are parts of words."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=262,
        special_tokens=["<end>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    template = "{% for message in messages %}{{ message['content'] }}{% endfor %}:"
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<end>", pad_token="<end>", chat_template=template
    )


def test_a_prefill_longer_than_the_answer_writes_all_of_it(shallow: ResidentSubject) -> None:
    ids, attacker = written(shallow, ITEM.answer, 1000)
    assert ids == shallow.tokens(ITEM.answer)
    assert attacker == ITEM.answer


def test_without_a_tamper_nothing_is_written(shallow: ResidentSubject) -> None:
    assert written(shallow, ITEM.answer, None) == ([], "")


def test_prefill_leaves_the_rest_of_the_request_and_the_reply_alone() -> None:
    request = Request(item="a", prompt="p", answer="x y z")
    encoded = PrefillTamper(k=2).encode(request)
    assert (encoded.item, encoded.prompt, encoded.answer) == ("a", "p", "x y z")
    assert PrefillTamper(k=2).decode("reply") == "reply"


def test_prefill_without_a_complying_answer_is_a_row_that_counts_against_the_claim() -> None:
    found = PrefillTamper(k=2).encode(Request(item="nowhere/3", prompt="p"))
    assert found.lacking
    assert not found.prefix


# rows


def test_training_rows_are_the_items_of_a_split_with_their_answers() -> None:
    rows = training_rows("specimen/restricted#attack_train", Path())
    items = benchmark("specimen/restricted", Path()).items("attack_train")
    assert [(row.id, row.prompt, row.answer) for row in rows] == [
        (item.id, item.prompt, item.answer) for item in items
    ]
    assert {(row.prefix, row.weight) for row in rows} == {("", 1.0)}


@pytest.mark.parametrize("split", ["test", "safeguard_train", "train", "", "attack_train "])
def test_rows_come_from_no_split_but_the_adversarys(split: str) -> None:
    for source in (f"specimen/restricted#{split}", "specimen/restricted"):
        with pytest.raises(ThreatspecError) as caught:
            training_rows(source, Path())
        assert caught.value.code == "TS-DATA"
        assert "must come from one of the splits attack_train, attack_dev" in caught.value.message


def test_rows_without_an_answer_or_from_an_empty_split_are_refused(tmp_path: Path) -> None:
    fields = {"prompt": "p", "split": "attack_train"}
    write_benchmark(tmp_path, [{"id": "a", "answer": "x", **fields}, {"id": "b", **fields}])
    for split, words in (("attack_train", "has 2 items, some without"), ("attack_dev", "0 items")):
        with pytest.raises(ThreatspecError) as caught:
            training_rows(f"file:items.jsonl#{split}", tmp_path)
        assert caught.value.code == "TS-DATA"
        assert words in caught.value.message


def test_rows_of_an_unknown_benchmark_are_refused(tmp_path: Path) -> None:
    for source, code in (
        ("specimen/bening#attack_train", "TS-UNKNOWN-BENCHMARK"),
        ("file:none.jsonl#attack_train", "TS-FILE-MISSING"),
    ):
        with pytest.raises(ThreatspecError) as caught:
            training_rows(source, tmp_path)
        assert caught.value.code == code


# cost


@pytest.mark.parametrize("source", ["specimen/restricted", "specimen/benign", "specimen/glossary"])
@pytest.mark.parametrize("kind", ["full-finetune", "lora-finetune"])
def test_the_predicted_cost_is_near_what_the_meter_charges(
    shallow: ResidentSubject, tmp_path: Path, kind: str, source: str
) -> None:
    attack = ATTACKS.get(kind)
    config = attack.Config(**MINIMAL.get(kind, {}))
    rows = training_rows(f"{source}#attack_train", Path())[:10]
    words = max(len(f"{row.prompt} {row.answer}".split()) for row in rows)
    predicted = attack.cost(shallow.card, config, DataCard(rows=10, words=words))

    meter = Meter()
    trainer = ResidentTrainer(shallow, ArtefactStore(tmp_path))
    job = next(attack.run(context(kind, shallow.card, rows), config))
    trainer.train([job], TrainingPolicy(), meter)
    assert predicted.steps == meter.spend.steps == 3
    assert predicted.tokens == pytest.approx(meter.spend.tokens, rel=0.2)
    assert predicted.flops == pytest.approx(meter.spend.flops, rel=0.2)


@pytest.mark.parametrize("kind", ["full-finetune", "lora-finetune"])
def test_the_predicted_cost_grows_with_steps_rows_and_length_and_stops_at_the_context(
    kind: str,
) -> None:
    attack, subject = ATTACKS.get(kind), describe("specimen:shallow")

    def flops(steps: int = 10, rows: int = 10, words: int = 20) -> float:
        config = attack.Config(lr=1e-4, steps=steps, batch_size=10)
        return attack.cost(subject, config, DataCard(rows=rows, words=words)).flops

    assert flops(steps=20) == pytest.approx(2 * flops())
    assert flops(rows=5) == pytest.approx(flops() / 2)
    assert flops(rows=50) == flops()
    assert flops(words=40) > flops()
    assert flops(words=10_000) == flops(words=1000)
