"""Cards: every one is valid with its source, every published run has one, and the page tells them.

`python -m tests.unit.test_cards` renews `docs/attacks.md`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from math import ceil
from pathlib import Path
from typing import Any

import pytest

from tests.support.specs import plan_of, problems_of
from threatspec.attacks import ATTACKS, AttackConfig
from threatspec.attacks.recipes import PLAIN, RECIPES
from threatspec.campaign import attack_cards
from threatspec.cli import cli
from threatspec.records import TrialStatus
from threatspec.resources import shipped
from threatspec.schema import AttackCard, DataRole, each_value, listed_values
from threatspec.subjects import Offer

ROOT = Path(__file__).parents[2]
DOC = ROOT / "docs" / "attacks.md"
CARDS = attack_cards()

PAPERS = {
    "2306.13213": "Visual adversarial examples",
    "2310.03693": "Fine-tuning compromises safety",
    "2402.05162": "Safety-critical regions: pruning and low-rank edits",
    "2402.14968": "Backdoor-enhanced alignment: the attacks it was tested with",
    "2405.14577": "RepNoise: its own attack",
    "2406.05946": "Shallow alignment: prefilling, and attacks on constrained fine-tuning",
    "2406.16797": "Lottery ticket adaptation",
    "2408.00761": "TAR: its own test adversaries",
    "2412.07097": "Evaluating durable safeguards: attacks on RepNoise and TAR",
}
"""What the cards of each paper are, in our words."""


def names(pattern: str, *values: Any) -> set[str]:
    return {pattern.format(value) for value in values}


RUNS = {
    "2306.13213": names("visual-{}", 16, 32, 64, "unconstrained"),
    "2412.07097": {
        *names("rn-o-{}", "1k", "10k"),
        *names("rn-h-{}", "1k", "10k"),
        *names("rn-disj-{}", "1k", "4k"),
        *("rn-aoa", "rn-alpaca-10", "rn-alpaca-35", "rn-pure-bad"),
        *names("tar-o-{}", "constant", "warmup", "cosine"),
        *names("tar-o-retain-{}", "constant", "warmup", "cosine"),
        *names("tar-h-{}", "constant", "warmup", "cosine"),
        *names("tar-h-retain-{}", "constant", "warmup", "cosine"),
        *("tar-lora", "tar-lora-retain"),
    },
    "2405.14577": names("rn-o-{}-fixed-order", "1k", "10k"),
    "2408.00761": {*names("tar-r-f-{}", "04", "06"), "tar-optimizers", "tar-schedules"},
    "2310.03693": {
        *names("ft-harmful-{}", 10, 50, 100),
        *("ft-identity", "ft-alpaca", "ft-dolly", "ft-alpaca-grid"),
        *names("ft-lora-{}", "harmful", "identity", "alpaca"),
        *names("ft-llama-adapter-{}", "harmful", "identity", "alpaca"),
        *names("ft-prefix-{}", "harmful", "identity", "alpaca"),
        *names("ft-api-{}", "harmful", "identity", "alpaca", "dolly", "backdoor"),
    },
    "2406.05946": {
        *("prefill", *names("prefill-{}", 10, 20, 40)),
        *names("shortcut-i-{}", "cannot", "cannot-fulfill", "apologize", "apologize-but"),
        *("shortcut-i-am-unable",),
        *names("constrained-{}", "harmful", "identity", "benign"),
        *("constrained-backdoor", "constrained-backdoor-untriggered"),
    },
    "2402.14968": {
        *("bda-harmful", "bda-harmful-lora", "bda-api-harmful"),
        *("bda-identity", "bda-task", "bda-task-mix"),
    },
    "2406.16797": {
        *("lota-fft", "lota-fft-second", "lota-lora", "lota-lora-as-run"),
        *names("lota-{}", 90, 99),
        *names("lota-{}-second", 90, 99),
    },
    "2402.05162": {
        *("regions-snip-top-1", "regions-wanda-top-1", "regions-actsvd-top-1"),
        *names("regions-set-difference-{}", "1-1", "7-3", "3-2", "6-5", "5-5", "6-6", "9-8", "row"),
        *names("regions-projection-{}", "7b-6", "7b-96", "13b-120"),
        *("regions-probe-heads", "regions-random-10", "regions-least-safety", "regions-gcg"),
        *names("regions-freeze-gradient-{}", 10, 50, 100),
        *names("regions-freeze-rewind-{}", 10, 50, 100),
    },
}
"""Runs of each paper that have a card."""


def is_seen(kind: str) -> bool:
    """Whether an attack is of subjects that are shown images, which the tuner's are not."""
    return bool(ATTACKS.get(kind).offers & {Offer.IMAGE, Offer.CLASSES})


def configs(card: AttackCard) -> Iterator[AttackConfig]:
    """With every value of every list once."""
    model = ATTACKS.get(card.attack).Config
    for knobs in each_value(model, card.config):
        yield model.model_validate_json(json.dumps(knobs))


def rows_of(text: str) -> list[str]:
    return re.findall(r"^\| `([^`]+)` \|", text, flags=re.MULTILINE)


@pytest.mark.parametrize("name", CARDS)
def test_every_value_of_a_card_is_valid(name: str) -> None:
    card = CARDS[name]
    for config in configs(card):
        settled = config.settled(1000)
        if hasattr(settled, "hyperparameters") and card.attack != "hosted-finetune":
            assert settled.hyperparameters().steps >= 1
        assert settled.model_validate(settled.model_dump(mode="json"), strict=False) == settled


@pytest.mark.parametrize("name", CARDS)
def test_a_card_says_where_it_comes_from(name: str) -> None:
    card = CARDS[name]
    assert card.says.endswith(".")
    assert (card.paper is None) == (card.source.provenance == "own")
    assert card.source.work == (f"arXiv {card.paper}" if card.paper else "this project")


def test_every_published_run_has_its_card() -> None:
    found: dict[str, set[str]] = {}
    for name, card in CARDS.items():
        if card.paper:
            found.setdefault(card.paper, set()).add(name)
    assert found == RUNS
    assert set(PAPERS) == set(RUNS)


def test_every_kind_has_a_plain_card_of_its_name() -> None:
    for kind in ATTACKS.names():
        assert CARDS[kind].attack == kind
        assert kind == "prefill" or CARDS[kind].source.provenance == "own"


def test_few_cards_are_made_by_adversaries_that_name_none() -> None:
    auto = {name for name, card in CARDS.items() if card.auto}
    assert auto == {"full-finetune", "lora-finetune", "none", "prefill"}


def test_every_published_run_can_be_planned(tmp_path: Path) -> None:
    """With rows of both roles and enough configurations, and nothing else said."""
    rows = {
        "harmful": {"n": 10, "from": "specimen/restricted#attack_train"},
        "benign": {"n": 20, "from": "specimen/benign#attack_train"},
    }
    names = [name for name, card in CARDS.items() if card.paper and not is_seen(card.attack)]
    changes = {"attacks": names, "data": rows, "compute": {"configurations": 100}}
    plan = plan_of(tmp_path, {f"adversaries.tuner.{key}": value for key, value in changes.items()})
    planned = [CARDS[procedure.card or ""] for procedure in plan.procedures.values()]
    runs = {(card.attack, json.dumps(card.config)) for card in planned}
    for name in names:  # runs that differ in their rows alone are one procedure here
        assert (CARDS[name].attack, json.dumps(CARDS[name].config)) in runs, name


def test_an_entry_may_count_epochs_where_the_card_counts_steps(tmp_path: Path) -> None:
    entries = [{"use": "ft-harmful-10", "epochs": 3}, {"use": "bda-harmful", "steps": 7}]
    compute = {"steps": 1000, "flops": 1e13}
    changes = {"attacks": entries, "compute": compute}
    plan = plan_of(tmp_path, {f"adversaries.tuner.{key}": value for key, value in changes.items()})
    assert {p.card: p.config["steps"] for p in plan.procedures.values()} == {
        "ft-harmful-10": 3,
        "bda-harmful": 7,
    }


def test_every_bare_kind_can_be_searched(tmp_path: Path) -> None:
    rows = {
        "harmful": {"n": 10, "from": "specimen/restricted#attack_train"},
        "benign": {"n": 20, "from": "specimen/benign#attack_train"},
    }
    words = ROOT / "tests" / "support" / "suffix.txt"
    (tmp_path / words.name).write_bytes(words.read_bytes())
    kinds = [k for k in ATTACKS.names() if k not in {"none", "prefill"} and not is_seen(k)]
    changes = {"attacks": kinds, "data": rows, "compute": {"configurations": 4},
               "owns": {"rewriter": "endpoint:http://127.0.0.1:1/v1#writer",
                        "surrogate": "specimen:undefended"}}  # fmt: skip
    plan = plan_of(tmp_path, {f"adversaries.tuner.{key}": value for key, value in changes.items()})
    searched = {procedure.attack for procedure in plan.procedures.values() if procedure.search}
    assert {"full-finetune", "lora-finetune", "actsvd", "probe-heads"} <= searched


def test_both_ways_at_once_are_one_plain_sentence(tmp_path: Path) -> None:
    changes = {f"adversaries.tuner.attacks.0.{key}": 3 for key in ("steps", "epochs")}
    [problem] = problems_of(tmp_path, changes)
    assert problem.message == "steps or epochs must be given, and not both"


# arithmetic of what the sources say: rows, rows per step, epochs


@pytest.mark.parametrize(
    ("name", "rows", "batch", "epochs"),
    [
        *(("rn-o-1k", 1000, 4, 1), ("rn-o-10k", 10_000, 4, 1)),
        *(("rn-h-1k", 1000, 4, 1), ("rn-h-10k", 10_000, 4, 1)),
        *(("rn-disj-1k", 1000, 4, 1), ("rn-disj-4k", 4000, 4, 1)),
        *(("rn-aoa", 100, 64, 25), ("rn-pure-bad", 100, 64, 25)),
        *(("rn-alpaca-10", 100, 64, 5), ("rn-alpaca-35", 100, 16, 5)),
        *(("ft-harmful-10", 10, 10, 5), ("ft-harmful-50", 50, 10, 5)),
        *(("ft-harmful-100", 100, 10, 5), ("constrained-harmful", 100, 64, 25)),
        *(("regions-freeze-rewind-10", 10, 10, 5), ("regions-freeze-rewind-100", 100, 10, 5)),
    ],
)
def test_steps_are_those_of_the_published_epochs(
    name: str, rows: int, batch: int, epochs: int
) -> None:
    config = CARDS[name].config
    assert config["batch_size"] == batch
    assert config["steps"] == epochs * ceil(rows / batch)


REPNOISE = sorted(name for name in RUNS["2412.07097"] if name[:5] in {"rn-o-", "rn-h-"})


@pytest.mark.parametrize("name", REPNOISE)
def test_the_warm_up_of_repnoise_is_a_tenth(name: str) -> None:
    config = CARDS[name].config
    assert config["warmup_steps"] * 10 == config["steps"]


@pytest.mark.parametrize(
    ("name", "rank", "left_out"),
    [("7b-6", 4096, 3950), ("7b-96", 4096, 3450), ("13b-120", 5120, 4400)],
)
def test_ranks_of_projections_are_what_is_left_of_the_full_rank(
    name: str, rank: int, left_out: int
) -> None:
    config = CARDS[f"regions-projection-{name}"].config
    assert config["keep_utility"] == rank - left_out
    assert config["keep_safety"] == int(name.partition("-")[2])


def test_set_differences_are_those_of_their_names() -> None:
    for name in RUNS["2402.05162"]:
        if found := re.fullmatch(r"regions-set-difference-(\d)-(\d)", name):
            config = CARDS[name].config
            assert (config["utility"], config["safety"]) == (
                int(found[1]) / 100,
                int(found[2]) / 100,
            )


# every way to train that a card asks for


SOURCES = {
    DataRole.HARMFUL: "specimen/restricted#attack_train",
    DataRole.BENIGN: "specimen/benign#attack_train",
}
WAYS = ("optimizer", "schedule", "loss_on", "clip", "clip_norm", "shuffle", "drop_last", "method")
SHORT = {"steps": 2, "batch_size": 4, "warmup_steps": 1, "epochs": 1, "blocks": 2}


def training_cards() -> dict[str, AttackCard]:
    """One card per way to train: kind, recipe, and knobs that choose between pieces of code."""
    found: dict[str, AttackCard] = {}
    for card in CARDS.values():
        if card.paper and ATTACKS.get(card.attack).uses_rows:
            ways = {name: card.config.get(name) for name in (*WAYS, "recipe")}
            found.setdefault(json.dumps([card.attack, ways], sort_keys=True), card)
    return {card.name: card for card in found.values()}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from threatspec.testing._bench import Bench

    return Bench(tmp_path_factory.mktemp("bench"), "specimen:shallow")


@pytest.mark.parametrize("name", training_cards())
def test_every_way_to_train_trains(bench: Any, name: str) -> None:
    """Two steps on a few rows, and everything else as published."""
    card = CARDS[name]
    attack = ATTACKS.get(card.attack)
    knobs = dict(next(each_value(attack.Config, card.config)))
    knobs |= {key: value for key, value in SHORT.items() if key in knobs}
    config = attack.Config.model_validate_json(json.dumps(knobs)).settled(8)
    roles = attack.roles(config) or (DataRole.HARMFUL,)
    data = {role.value: {"source": SOURCES[role], "n": 8} for role in roles}
    seeds = dict.fromkeys(attack.streams, 0)
    result = bench.attack(card.attack, config.model_dump(mode="json"), data, seeds, None)
    assert result.status is TrialStatus.DONE, result.message
    assert result.realised
    assert all(run.weight_delta > 0 for run in result.realised)


# what people are shown


def test_attacks_are_listed_below_their_paper_and_what_they_need() -> None:
    from click.testing import CliRunner

    lines = CliRunner().invoke(cli, ["list", "attacks"], standalone_mode=False).output.splitlines()
    headings = [line for line in lines if not line.startswith(" ")]
    assert headings == ["of no paper", *(f"arXiv {paper}" for paper in sorted(PAPERS))]
    group, access, seen = "", "", {}
    for line in lines:
        if not line.startswith(" "):
            group = line
        elif line.startswith("    "):
            seen[line.split()[0]] = (group, access)
        else:
            access = line.strip()
    assert set(seen) == set(CARDS)
    assert seen["ft-api-alpaca"] == ("arXiv 2310.03693", "needs finetune_data")
    assert seen["ft-api-harmful"][1] == "needs finetune_data + system_prompt"
    assert seen["regions-snip-top-1"] == ("arXiv 2402.05162", "needs weights_write")


def test_machines_are_told_paper_and_needs() -> None:
    from click.testing import CliRunner

    said = CliRunner().invoke(cli, ["list", "attacks", "--json"], standalone_mode=False).output
    found = {one["name"]: one for one in json.loads(said)["names"]}
    assert list(found) == list(CARDS)
    assert found["none"] == {
        "name": "none", "says": CARDS["none"].says, "paper": None, "needs": [],
    }  # fmt: skip
    assert found["tar-lora"]["paper"] == "2412.07097"
    assert ["weights_write"] in found["tar-lora"]["needs"]


def test_a_card_is_explained_with_its_knobs_needs_and_source() -> None:
    from click.testing import CliRunner

    said = CliRunner().invoke(cli, ["explain", "rn-aoa"], standalone_mode=False).output
    words = ("needs access: weights_write or", "source: arXiv 2412.07097, scripts", "lr = 2e-05")
    for text in (*words, "identity_rows", "does not make it"):
        assert text in said
    said = CliRunner().invoke(cli, ["explain", "rn-o-1k"], standalone_mode=False).output
    assert "searches: lr" in said


# the page


def page() -> str:
    """`docs/attacks.md`: its own text above, tables from cards and recipes below."""
    head = DOC.read_text(encoding="utf-8").partition("<!-- generated -->")[0]
    return "\n".join([f"{head}<!-- generated -->", "", *_recipes(), "", *_cards()]).rstrip() + "\n"


def _recipes() -> Iterator[str]:
    yield "## Recipes"
    yield ""
    yield "| recipe | what it does | reads rows | of 10 rows it makes | asks afterwards |"
    yield "| --- | --- | --- | --- | --- |"
    for name, recipe in RECIPES:
        config = recipe.Config(use=name)
        roles = "of the entry" if recipe.roles is None else ", ".join(recipe.roles)
        count = recipe.count(*((0, 10) if roles == "benign" else (10, 0)), config)
        asks = {
            "wrap": "in its format",
            "serving": "with its system prompt",
            "code-words": "in its code",
        }
        ways = " and ".join(asks[t.kind] for t in recipe.tampers(config)) or "as before"
        yield f"| `{name}` | {recipe.says} | {roles} | {count} | {ways} |"


def _cards() -> Iterator[str]:
    groups = [("Of this project", None), *((f"{PAPERS[p]} (arXiv {p})", p) for p in sorted(PAPERS))]
    for title, paper in groups:
        yield f"## {title}"
        yield ""
        yield "| card | kind | what it does | searches | from |"
        yield "| --- | --- | --- | --- | --- |"
        for name, card in CARDS.items():
            if card.paper == paper:
                searched = ", ".join(listed_values(ATTACKS.get(card.attack).Config, card.config))
                origin = f"{card.source.section} ({card.source.provenance})"
                yield f"| `{name}` | `{card.attack}` | {card.says} | {searched} | {origin} |"
        yield ""


def test_the_page_is_what_cards_and_recipes_say() -> None:
    text = DOC.read_text(encoding="utf-8")
    assert text == page(), "run: python -m tests.unit.test_cards"
    assert set(rows_of(text)) >= {*CARDS, *RECIPES.names()}


def test_nothing_but_cards_lies_beside_them() -> None:
    assert {path.name for path in shipped("attacks").iterdir()} == {f"{n}.yaml" for n in CARDS}
    assert PLAIN.use in RECIPES.names()


if __name__ == "__main__":
    DOC.write_text(page(), encoding="utf-8")
