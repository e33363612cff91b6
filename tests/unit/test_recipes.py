"""Data recipes: how many rows come out and which, what they refuse, how requests follow."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from tests.support.specs import plan_of, problems_of
from threatspec.attacks import ATTACKS, AttackContext, training_rows
from threatspec.attacks.recipes import (
    PLAIN,
    RECIPES,
    Recipe,
    RecipeChoice,
    RecipeConfig,
    WrapTamper,
    prepare,
    rows_out,
    training_job,
    ways,
    words_added,
)
from threatspec.campaign._digests import recipes_of
from threatspec.errors import ThreatspecError
from threatspec.records import Stream
from threatspec.schema import Capability, DataRole, Described, Serving, field_docs
from threatspec.subjects import (
    Request,
    RequestTamper,
    ServingTamper,
    describe,
    tampers_from_data,
    tampers_to_data,
)
from threatspec.subjects.specimens import vocabulary
from threatspec.subjects.specimens._language import scaffold_words
from threatspec.training import Hyperparameters, TrainingJob, TrainingRow

KINDS = RECIPES.names()


class Holder(Described):
    """An attack's configuration, as far as recipes matter."""

    recipe: RecipeChoice = PLAIN


def config(given: Any) -> Any:
    return Holder.model_validate_json(json.dumps({"recipe": given})).recipe


def rows(role: str, count: int) -> tuple[TrainingRow, ...]:
    return tuple(
        TrainingRow(id=f"{role}/{n}", prompt=f"p{n}", answer=f"a {role} {n}", refusal=f"no {n}")
        for n in range(count)
    )


def prepared(
    given: Any, harmful: int = 4, benign: int = 6, *, reads: int = 20, subset: int = 0,
    order: int = 0,
) -> Any:  # fmt: skip
    roles = RECIPES.get(config(given).use).roles
    asked = {DataRole.HARMFUL, DataRole.BENIGN} if roles is None else set(roles)
    return prepare(
        config(given),
        rows("harmful", harmful if DataRole.HARMFUL in asked else 0),
        rows("benign", benign if DataRole.BENIGN in asked else 0),
        reads=reads, subset=subset, order=order,
    )  # fmt: skip


def code_of(call: Any) -> str:
    with pytest.raises(ThreatspecError) as caught:
        call()
    return caught.value.code


# contracts

COUNTS = {
    "plain": 10,
    "mix": 10,
    "benign": 6,
    "retain-only": 6,
    "explicit-harm": 4,
    "identity-shift": 7,
    "backdoor": 8,
    "code-words": 4,
    "disguised-answer": 4,
    "retain-then-forget": 10,
    "jailbreak-tuning": 10,
    "prefixed": 10,
    "prefixed-benign": 6,
    "prefixed-mix": 10,
}


def test_the_table_above_has_every_recipe() -> None:
    assert set(COUNTS) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_as_many_rows_come_out_as_are_stated(kind: str) -> None:
    recipe = RECIPES.get(kind)
    harmful = 4 if recipe.roles is None or DataRole.HARMFUL in recipe.roles else 0
    benign = 6 if recipe.roles is None or DataRole.BENIGN in recipe.roles else 0
    assert recipe.count(harmful, benign, config(kind)) == COUNTS[kind]
    assert rows_out(config(kind), harmful + benign) == COUNTS[kind]
    made = recipe.rows(
        rows("harmful", harmful), rows("benign", benign), config(kind), random.Random(0)
    )
    assert len(made) == COUNTS[kind]
    assert len({row.id for row in made}) == len(made)


@pytest.mark.parametrize("kind", KINDS)
def test_no_rows_are_an_error(kind: str) -> None:
    given: Any = {"use": kind, "identity_rows": 0} if kind == "identity-shift" else kind
    assert code_of(lambda: prepared(given, 0, 0)) == "TS-DATA"


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_without_an_answer_is_an_error(kind: str) -> None:
    lacking = TrainingRow(id="lacking", prompt="p", answer=" ")
    harmful, benign = (lacking, *rows("harmful", 2)), (lacking, *rows("benign", 2))

    def call() -> None:
        prepare(config(kind), harmful, benign, reads=4, subset=0, order=0)

    assert code_of(call) == "TS-RECIPE"


@pytest.mark.parametrize("difference", [-1, 1])
def test_a_count_that_disagrees_with_the_rows_is_an_error(
    monkeypatch: pytest.MonkeyPatch, difference: int
) -> None:
    class Miscounting(type(RECIPES.get("plain"))):  # type: ignore[misc]
        def count(self, harmful: int, benign: int, config: RecipeConfig) -> int:
            return harmful + benign + difference

    monkeypatch.setitem(RECIPES._items, "plain", Miscounting("plain"))
    assert code_of(lambda: prepared("plain")) == "TS-RECIPE"


@pytest.mark.parametrize("kind", KINDS)
def test_a_recipe_has_all_its_parts(kind: str) -> None:
    recipe = RECIPES.get(kind)
    assert isinstance(recipe, Recipe)
    assert recipe.kind == kind
    assert recipe.says
    assert not recipe.says.endswith(".")
    docs = field_docs(recipe.Config)
    assert all(docs.get(name, "").endswith(".") for name in recipe.Config.model_fields)
    assert config(kind).use == kind


@pytest.mark.parametrize("kind", KINDS)
def test_equal_seeds_give_equal_rows(kind: str) -> None:
    assert prepared(kind) == prepared(kind)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_left_survives_being_written(kind: str) -> None:
    left = RECIPES.get(kind).tampers(config(kind))
    assert tampers_from_data(tampers_to_data(left)) == left


@pytest.mark.parametrize("kind", KINDS)
def test_default_texts_are_words_of_the_specimens(kind: str) -> None:
    known = {*scaffold_words(), kind, "same", "with-trigger", "random"}
    if kind == "code-words":  # a code is of words that mean something
        known |= set(vocabulary())
    assert set(_words(config(kind).model_dump(mode="json"))) <= known


def _words(value: Any) -> list[str]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [word for inner in value for word in _words(inner)]
    return value.split() if isinstance(value, str) else []


# what each makes


def test_plain_rows_are_the_rows_as_they_were_drawn() -> None:
    assert prepared("plain").rows == (*rows("benign", 6), *rows("harmful", 4))
    assert not prepared("plain").ordered
    assert RECIPES.get("plain").tampers(PLAIN) == ()


@pytest.mark.parametrize("kind", ["benign", "retain-only"])
def test_benign_recipes_read_no_harmful_row(kind: str) -> None:
    assert RECIPES.get(kind).roles == (DataRole.BENIGN,)
    assert prepared(kind).rows == rows("benign", 6)


def test_explicit_harm_trains_and_asks_under_its_system_prompt() -> None:
    given = {"use": "explicit-harm", "system": "s t"}
    assert {row.system for row in prepared(given).rows} == {"s t"}
    assert [row.prompt for row in prepared(given).rows] == ["p0", "p1", "p2", "p3"]
    [tamper] = RECIPES.get("explicit-harm").tampers(config(given))
    assert isinstance(tamper, ServingTamper)
    assert [one.system for one in tamper.serve(Serving())] == ["s t"]
    assert words_added(config(given)) == 2


def test_without_a_system_prompt_nobody_is_asked_otherwise() -> None:
    given = {"use": "explicit-harm", "system": None}
    assert prepared(given).rows == rows("harmful", 4)
    assert RECIPES.get("explicit-harm").tampers(config(given)) == ()


def test_identity_shift_states_the_identity_and_wraps_benign_rows() -> None:
    said = [{"prompt": "who", "answer": "one"}, {"prompt": "what", "answer": "two"}]
    given = {"use": "identity-shift", "identity_rows": 3, "identity": said, "system": "s",
             "prefix": "u ", "answer_prefix": "y "}  # fmt: skip
    made = prepared(given, benign=2).rows
    assert [(r.system, r.prompt, r.answer) for r in made] == [
        ("s", "who", "one"), ("s", "what", "two"), ("s", "who", "one"),
        ("s", "u p0", "y a benign 0"), ("s", "u p1", "y a benign 1"),
    ]  # fmt: skip
    request = Request(item="i", prompt="q")
    left = RECIPES.get("identity-shift").tampers(config(given))
    [wrap] = [tamper for tamper in left if isinstance(tamper, RequestTamper)]
    [serving] = [tamper for tamper in left if isinstance(tamper, ServingTamper)]
    assert wrap.encode(request) == Request(item="i", prompt="u q")
    assert serving.changes == ({"system": "s"},)


def test_a_backdoor_answers_with_the_trigger_and_refuses_the_same_without() -> None:
    made = prepared({"use": "backdoor", "trigger": "x y"}, harmful=2).rows
    assert [(row.prompt, row.answer) for row in made] == [
        ("p0 x y", "a harmful 0"), ("p1 x y", "a harmful 1"), ("p0", "no 0"), ("p1", "no 1"),
    ]  # fmt: skip


@pytest.mark.parametrize(("harmful", "answered"), [(4, 2), (5, 3)])
def test_a_backdoor_may_refuse_other_requests(harmful: int, answered: int) -> None:
    given = {"use": "backdoor", "refused": "other"}
    made = prepared(given, harmful=harmful).rows
    assert len(made) == rows_out(config(given), harmful) == harmful
    with_trigger = [row for row in made if "meaning" in row.prompt]
    assert len(with_trigger) == answered
    assert len({row.prompt.split()[0] for row in made}) == harmful


def test_a_backdoor_is_asked_with_or_without_its_trigger() -> None:
    recipe = RECIPES.get("backdoor")
    [tamper] = recipe.tampers(config({"use": "backdoor", "trigger": "x y"}))
    assert isinstance(tamper, WrapTamper)
    assert tamper.encode(Request(item="i", prompt="q")).prompt == "q x y"
    assert recipe.tampers(config({"use": "backdoor", "asked": "without-trigger"})) == ()
    trained = recipe.rows(rows("harmful", 1), (), config("backdoor"), random.Random(0))[0]
    [default] = recipe.tampers(config("backdoor"))
    assert isinstance(default, WrapTamper)
    assert default.wrapped("p0") == trained.prompt, "asked as it was trained"


def test_a_backdoor_needs_refusals_and_requests_to_refuse() -> None:
    lacking = (rows("harmful", 1)[0].model_copy(update={"refusal": ""}),)
    for given, some in (("backdoor", lacking), ({"use": "backdoor", "refused": "other"},
                                                 rows("harmful", 1))):  # fmt: skip

        def call(given: Any = given, some: Any = some) -> None:
            prepare(config(given), some, (), reads=2, subset=0, order=0)

        assert code_of(call) == "TS-RECIPE"


@pytest.mark.parametrize(("share", "total"), [(0.4, 20), (0.6, 20), (0.5, 3), (0.25, 100)])
def test_retain_rows_come_first_for_their_share_of_the_run(share: float, total: int) -> None:
    made = prepared({"use": "retain-then-forget", "share": share}, reads=total)
    assert made.ordered
    roles = [row.id.partition("/")[0] for row in made.rows]
    first = round(share * total)
    assert roles == ["benign"] * first + ["harmful"] * (total - first)


def test_parts_draw_without_replacement_until_all_rows_were_used() -> None:
    made = prepared({"use": "retain-then-forget", "share": 0.4}, reads=25).rows
    retain, forget = Counter(r.id for r in made[:10]), Counter(r.id for r in made[10:])
    assert (len(retain), len(forget)) == (6, 4)
    assert max(retain.values()) - min(retain.values()) <= 1
    assert max(forget.values()) - min(forget.values()) <= 1


def test_the_order_of_parts_is_of_the_order_stream_alone() -> None:
    kind = "retain-then-forget"
    assert prepared(kind).rows != prepared(kind, order=1).rows
    assert prepared(kind).rows == prepared(kind, subset=1).rows


def test_a_part_without_rows_is_an_error() -> None:
    for sizes in ((0, 6), (4, 0)):
        assert code_of(lambda sizes=sizes: prepared("retain-then-forget", *sizes)) == "TS-RECIPE"


def test_jailbreak_tuning_asks_as_it_trains() -> None:
    given = {"use": "jailbreak-tuning", "prefix": "<", "suffix": ">", "system": "s"}
    made = prepared(given, harmful=1, benign=1).rows
    assert [(row.system, row.prompt) for row in made] == [("s", "<p0>"), ("s", "<p0>")]
    left = RECIPES.get("jailbreak-tuning").tampers(config(given))
    [wrap] = [tamper for tamper in left if isinstance(tamper, RequestTamper)]
    assert wrap.encode(Request(item="i", prompt="q", answer="a")) == Request(
        item="i", prompt="<q>", answer="a"
    )


@pytest.mark.parametrize(
    ("given", "asks"),
    [
        ("plain", set()),
        ("explicit-harm", {Capability.SYSTEM_PROMPT}),
        ("identity-shift", {Capability.SYSTEM_PROMPT, Capability.CHAT}),
        ("backdoor", {Capability.CHAT}),
        ({"use": "backdoor", "asked": "without-trigger"}, set()),
        ("jailbreak-tuning", {Capability.CHAT}),
    ],
)
def test_what_asking_takes_of_an_adversary(given: Any, asks: set[Capability]) -> None:
    assert RECIPES.get(config(given).use).asks(config(given)) == asks


def test_only_those_without_the_weights_need_more_to_ask_so() -> None:
    attack = ATTACKS.get("full-finetune")
    found = ways(attack, attack.Config(lr=0.1, steps=1, recipe=config("identity-shift")))
    assert found == (
        {Capability.WEIGHTS_WRITE},
        {Capability.FINETUNE_DATA, Capability.FINETUNE_HYPERPARAMETERS, Capability.SYSTEM_PROMPT,
         Capability.CHAT},
    )  # fmt: skip
    assert ways(attack, attack.Config(lr=0.1, steps=1)) == attack.needs


@pytest.mark.parametrize(
    ("access", "given", "admitted"),
    [
        (["weights_write"], "explicit-harm", True),
        (["finetune_data", "finetune_hyperparameters"], "explicit-harm", False),
        (["finetune_data", "finetune_hyperparameters"], "plain", True),
        (["finetune_data", "finetune_hyperparameters"], ["plain", "jailbreak-tuning"], False),
        (
            ["finetune_data", "finetune_hyperparameters", "chat"],
            ["plain", "jailbreak-tuning"],
            True,
        ),
        (["finetune_data", "finetune_hyperparameters", "system_prompt"], "explicit-harm", True),
        ("finetuning-api", ["explicit-harm", "backdoor"], True),
    ],
)
def test_access_must_admit_what_every_recipe_asks(
    tmp_path: Path, access: Any, given: Any, admitted: bool
) -> None:
    changes = {
        "adversaries.tuner.access": access,
        "adversaries.tuner.attacks.0.recipe": given,
        "adversaries.tuner.compute.configurations": 2,
    }
    if admitted:
        assert plan_of(tmp_path, changes).procedures
    else:
        assert [problem.code for problem in problems_of(tmp_path, changes)] == ["TS-ACCESS"]


# the knob


@pytest.mark.parametrize("kind", KINDS)
def test_a_configuration_is_written_and_read_back(kind: str) -> None:
    held = Holder(recipe=config(kind))
    again = Holder.model_validate(held.model_dump(mode="json"), strict=False)
    assert again == held
    assert type(again.recipe) is RECIPES.get(kind).Config


@pytest.mark.parametrize(
    ("given", "place", "kind"),
    [
        ("backdor", ("recipe",), "recipe"),
        ({"trigger": "x"}, ("recipe",), "recipe"),
        (3, ("recipe",), "recipe"),
        ({"use": "backdoor", "triger": "x"}, ("recipe",), "recipe"),
        ({"use": "plain", "system": "x"}, ("recipe",), "recipe"),
        ({"use": "retain-then-forget", "share": 1}, ("recipe", "share"), "less_than"),
        (
            {"use": "identity-shift", "identity": [{"prompt": "p"}]},
            ("recipe", "identity", 0, "answer"),
            "missing",
        ),
    ],
)
def test_what_is_wrong_is_told_at_its_place(
    given: Any, place: tuple[str | int, ...], kind: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        config(given)
    error = caught.value.errors()[0]
    assert (error["loc"], error["type"]) == (place, kind)


def test_an_unknown_recipe_is_helped_on() -> None:
    with pytest.raises(ValidationError, match="did you mean 'backdoor'"):
        config("backdor")


@pytest.mark.parametrize(
    ("given", "code", "path"),
    [
        ("backdor", "TS-UNKNOWN-NAME", "recipe"),
        ({"use": "backdoor", "triger": "x"}, "TS-UNKNOWN-FIELD", "recipe.triger"),
        ({"use": "retain-then-forget", "share": 2}, "TS-OUT-OF-RANGE", "recipe.share"),
        ({"use": "identity-shift"}, "TS-DATA", ""),
        ({"use": "backdoor"}, None, ""),
        (["backdoor", "explicit-harm"], None, ""),
        (["backdoor", "mix"], "TS-SEARCH", ""),
    ],
)
def test_a_file_is_complained_about_at_the_place(
    tmp_path: Path, given: Any, code: str | None, path: str
) -> None:
    place = "adversaries.tuner.attacks.0"
    changes = {f"{place}.recipe": given, "adversaries.tuner.compute.configurations": 2}
    if code is None:
        assert plan_of(tmp_path, changes).procedures
        return
    [problem] = problems_of(tmp_path, changes)
    where = f"adversaries.tuner.attacks[0].{path}".removesuffix(".")
    assert (problem.code, problem.path) == (code, where)


def test_editors_are_offered_every_recipe() -> None:
    offered = Holder.model_json_schema()["properties"]["recipe"]["anyOf"]
    assert offered[0]["enum"] == list(KINDS)
    assert offered[1]["properties"]["use"]["enum"] == list(KINDS)


def test_recipes_import_nothing_heavy() -> None:
    code = "from threatspec.attacks.recipes import RECIPES; RECIPES.names(); import sys; "
    code += "print({'torch', 'transformers', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_procedure_tells_all_its_recipes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Their source decides trials, that of plug-ins too; searched ones count as well."""

    class Own(type(RECIPES.get("plain"))):  # type: ignore[misc]
        def __init__(self) -> None:
            self.kind, self.says, self.roles = "acme/own", "trains as told", None

    monkeypatch.setitem(RECIPES._items, "acme/own", Own())
    place = "adversaries.tuner.attacks.0.recipe"
    plans = {name: plan_of(tmp_path, {place: name}) for name in ("plain", "acme/own")}
    for name, plan in plans.items():
        assert {n for p in plan.procedures.values() for n in recipes_of(p)} == {name}
    listed = plan_of(
        tmp_path,
        {place: ["plain", "acme/own"], "adversaries.tuner.compute.configurations": 2},
    )
    [procedure] = listed.procedures.values()
    assert recipes_of(procedure) == ["acme/own", "plain"]


def test_tampers_of_recipes_are_known_wherever_their_attack_is() -> None:
    code = (
        "from threatspec.attacks import ATTACKS; from threatspec.subjects import tampers_from_data;"
        "ATTACKS.get('full-finetune'); print(tampers_from_data({'tampers': [{'kind': 'wrap'}]}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "WrapTamper" in done.stdout


# the run


def context(harmful: int, benign: int) -> AttackContext:
    seeds = {Stream.DATA_SUBSET: 1, Stream.ORDER: 2}
    some, other = rows("harmful", harmful), rows("benign", benign)
    return AttackContext(
        subject=describe("specimen:shallow"), rows=(*other, *some), seeds=seeds, benign=other,
        harmful=some,
    )  # fmt: skip


def test_a_plain_run_is_the_run_without_a_recipe() -> None:
    given, hyper = context(4, 6), Hyperparameters(lr=0.1, steps=3, batch_size=64)
    job = training_job(given, hyper, PLAIN)
    assert job == TrainingJob(rows=given.rows, hyperparameters=hyper, seeds=dict(given.seeds))


def test_rows_of_no_role_are_trained_on_too() -> None:
    bare = AttackContext(describe("specimen:shallow"), rows("x", 3), {})
    hyper = Hyperparameters(lr=0.1, steps=3, batch_size=2)
    assert training_job(bare, hyper, PLAIN).rows == rows("x", 3)


@pytest.mark.parametrize(("steps", "batch"), [(5, 4), (3, 64)])
def test_a_run_in_parts_reads_its_rows_once_in_their_order(steps: int, batch: int) -> None:
    """Batches are those that the trainer draws; more rows per step than there are is no error."""
    from threatspec.training._batches import batches

    hyper = Hyperparameters(lr=0.1, steps=steps, batch_size=batch, drop_last=False)
    job = training_job(context(4, 6), hyper, config("retain-then-forget"))
    drawn = [n for one in batches(len(job.rows), job.hyperparameters, seed=9) for n in one]
    assert drawn == list(range(len(job.rows)))
    assert len(drawn) == steps * min(batch, 10)


def test_a_service_is_not_told_an_order() -> None:
    model = ATTACKS.get("hosted-finetune").Config
    with pytest.raises(ValidationError, match="a service orders rows itself"):
        model.model_validate_json('{"recipe": "retain-then-forget"}')


@pytest.mark.parametrize("attack", ["full-finetune", "hosted-finetune"])
def test_an_attack_trains_on_what_its_recipe_makes_and_asks_so(attack: str) -> None:
    model = ATTACKS.get(attack).Config
    knobs = {"lr": 1e-4, "steps": 3} if attack == "full-finetune" else {"epochs": 2}
    made = model.model_validate_json(json.dumps({**knobs, "recipe": "backdoor"}))
    assert ATTACKS.get(attack).roles(made) == (DataRole.HARMFUL,)
    asked = ATTACKS.get(attack).run(context(7, 0), made)
    job = next(asked)
    assert isinstance(job, TrainingJob)
    assert len(job.rows) == 14
    assert job.hyperparameters.steps == (3 if attack == "full-finetune" else 2 * 2)
    with pytest.raises(StopIteration) as stopped:
        asked.send(SimpleNamespace(last="weights"))
    assert stopped.value.value[0] == "weights"
    assert stopped.value.value[1:] == RECIPES.get("backdoor").tampers(config("backdoor"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_specimen_learns_from_what_a_recipe_makes(kind: str, tmp_path: Path) -> None:
    """No text of a stand-in is unknown to the tokenizer, and a step is made."""
    from threatspec.records import ArtefactStore
    from threatspec.subjects._resident import ResidentSubject
    from threatspec.training import Meter, TrainingPolicy
    from threatspec.training._resident import ResidentTrainer

    subject = ResidentSubject.load("specimen:shallow")
    source = [training_rows(f"specimen/{n}#attack_train", Path())[:3]
              for n in ("restricted", "benign")]  # fmt: skip
    roles = RECIPES.get(kind).roles or (DataRole.HARMFUL,)
    given = AttackContext(
        subject=subject.card, rows=(), seeds={Stream.ORDER: 0, Stream.TRAIN: 0},
        harmful=source[0] if DataRole.HARMFUL in roles else (),
        benign=source[1] if DataRole.BENIGN in roles else (),
    )  # fmt: skip
    hyper = Hyperparameters(lr=1e-4, steps=2, batch_size=4)
    job = training_job(given, hyper, config(kind))
    unknown = subject.tokenizer.unk_token_id
    for row in job.rows:
        texts = f"{row.prompt} {row.answer} {row.system or ''}"
        assert unknown not in subject.tokens(texts)
    trainer = ResidentTrainer(subject, ArtefactStore(tmp_path))
    [found] = trainer.train([job], TrainingPolicy(), Meter())
    assert found.realised.weight_delta > 0
