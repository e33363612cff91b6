"""Instruments: exact values of what they read, what they refuse, and that they decide nothing."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.specs import ABSENT, load, plan_of, problems_of, write_benchmark
from tests.support.tiny_models import tiny
from threatspec import api
from threatspec.campaign import forecast_instruments
from threatspec.claims import decide
from threatspec.cli import main
from threatspec.instruments import INSTRUMENTS, InstrumentContext
from threatspec.instruments._direction_kernel import separations
from threatspec.instruments._kl_kernel import divergence, divergences
from threatspec.instruments._positions import position_curve, positions_read
from threatspec.instruments._token_kernel import gradient_norms, token_losses
from threatspec.measures import Item, benchmark
from threatspec.records import Arm, Curve, Ledger, Plan, TrialKind, TrialStatus
from threatspec.reports import render_html, render_markdown, report_data
from threatspec.reports._instruments import instruments
from threatspec.reports.bundle import open_bundle, verify_bundle, write_bundle
from threatspec.reports.bundle._check_instruments import instrument_checks
from threatspec.reports.bundle._checks import Status
from threatspec.reports.bundle._matter import Matter
from threatspec.schema import Serving
from threatspec.subjects import Request
from threatspec.subjects._resident import ResidentSubject
from threatspec.training import TrainingRow

KL = {"use": "kl-profile", "benchmark": "specimen/restricted", "prompts": 4, "tokens": 3}
DYNAMICS = {"use": "token-dynamics", "from": "specimen/restricted#attack_train", "n": 4,
            "lr": 1e-4, "batch_size": 4, "steps": [0, 2], "tokens": 3}  # fmt: skip
STRENGTH = {"use": "refusal-strength", "restricted": "specimen/restricted",
            "benign": "specimen/benign", "prompts": 6}  # fmt: skip
ALL = {"kl": KL, "dynamics": DYNAMICS, "strength": STRENGTH}
SHORT: dict[str, Any] = {
    "instruments": ALL,
    "adversaries.tuner": {"goal": "g", "access": "completion-api",
                          "attacks": [{"use": "prefill", "k": 1}]},
}  # fmt: skip


def _items(name: str, n: int, split: str = "test") -> list[Item]:
    return list(benchmark(name, Path()).items(split))[:n]


def _rows(n: int) -> list[TrainingRow]:
    items = _items("specimen/restricted", n, "attack_train")
    return [TrainingRow(id=item.id, prompt=item.prompt, answer=item.answer) for item in items]


@pytest.fixture(scope="module")
def deep() -> ResidentSubject:
    return ResidentSubject.load("specimen:deep")


# divergence


def test_divergence_of_a_tiny_vocabulary_is_that_of_its_definition() -> None:
    p, q = [0.5, 0.25, 0.25], [0.25, 0.5, 0.25]
    wanted = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    found = divergence(torch.tensor(p).log() + 7.0, torch.tensor(q).log() - 3.0)
    assert float(found) == pytest.approx(wanted, abs=1e-6)  # logits are known up to a constant
    other = divergence(torch.tensor([0.9, 0.1]).log(), torch.tensor([0.1, 0.9]).log())
    assert float(other) == pytest.approx(0.8 * math.log(9), abs=1e-6)


@given(st.lists(st.tuples(st.floats(-30, 30), st.floats(-30, 30)), min_size=2, max_size=9))
@settings(deadline=None)
def test_divergence_is_never_negative_and_zero_of_equals(pairs: list[tuple[float, float]]) -> None:
    own, other = (torch.tensor(values) for values in zip(*pairs, strict=True))
    assert float(divergence(own, other)) >= 0
    assert float(divergence(own, own)) == 0


def test_a_token_that_is_impossible_for_the_subject_adds_nothing() -> None:
    own = torch.tensor([0.0, 0.0, -math.inf])
    assert float(divergence(own, torch.zeros(3))) == pytest.approx(math.log(1.5), abs=1e-6)


def test_a_model_does_not_diverge_from_itself() -> None:
    model = tiny("llama")
    found = divergences(model, model, _items("specimen/restricted", 5), tokens=4, native=True,
                        micro_batch=2)  # fmt: skip
    assert found == [[0.0] * 4] * 5


@pytest.mark.parametrize("template", ["native", "none"])
def test_divergences_are_those_of_one_prompt_at_a_time(template: str) -> None:
    """Computed apart: no padding, one position at a time, by torch's own divergence."""
    subject, base = tiny("llama", seed=1), tiny("llama", seed=2)
    items = _items("specimen/restricted", 3)
    found = divergences(subject, base, items, tokens=3, native=template == "native", micro_batch=2)
    for item, row in zip(items, found, strict=True):
        answer = subject.tokens(item.answer)
        for k, value in enumerate(row):
            own = _next(subject, item, "native", answer[:k])
            other = _next(base, item, template, answer[:k])
            wanted = torch.nn.functional.kl_div(other, own, reduction="sum", log_target=True)
            assert value == pytest.approx(float(wanted), abs=1e-5)


@torch.no_grad()
def _next(subject: ResidentSubject, item: Item, template: str, before: list[int]) -> torch.Tensor:
    serving = Serving.model_validate({"template": template})
    ids = subject.render(Request(item=item.id, prompt=item.prompt), serving)[0]
    logits = subject.model(input_ids=torch.tensor([[*ids, *before]])).logits[0, -1]
    return logits.double().log_softmax(-1)


def test_what_the_base_is_given_is_a_setting_that_matters() -> None:
    model, items = tiny("llama"), _items("specimen/restricted", 2)
    bare = divergences(model, model, items, tokens=2, native=False, micro_batch=2)
    assert all(value > 0 for row in bare for value in row)


def test_subjects_of_different_words_are_not_compared(deep: ResidentSubject) -> None:
    class Other:
        def get_vocab(self) -> dict[str, int]:
            return {"other": 0}

    base = ResidentSubject(deep.card, deep.model, Other())  # type: ignore[arg-type]
    with pytest.raises(Exception, match=r"must share one vocabulary.*TS-INSTRUMENT"):
        _read("kl-profile", KL, deep, base)


# curves over positions


def test_a_curve_holds_means_and_quartiles_of_prompts_that_have_a_position() -> None:
    curve = position_curve("kl", [[1.0, 5.0], [2.0, 7.0], [3.0], [6.0]])
    assert curve == Curve(name="kl", x=(1.0, 2.0), y=(3.0, 6.0), low=(1.75, 5.5), high=(3.75, 6.5))


def test_positions_that_fewer_than_half_of_the_prompts_have_are_left_out() -> None:
    assert positions_read([[0], [0], [0], [0] * 9]) == 1
    assert positions_read([[0] * 4, [0] * 3, [0], [0]]) == 3
    assert positions_read([[], []]) == 0


# losses and gradients


def test_token_losses_are_negative_log_probabilities_of_the_answer() -> None:
    subject = tiny("gpt2", seed=3)
    rows = _rows(3)
    found = token_losses(subject, rows, 4, micro_batch=2)
    for row, losses in zip(rows, found, strict=True):
        answer = [*subject.tokens(row.answer), subject.end]
        item = Item(id=row.id, prompt=row.prompt, split="test", cluster=row.id)
        for k, loss in enumerate(losses):
            chance = _next(subject, item, "native", answer[:k])[answer[k]]
            assert loss == pytest.approx(-float(chance), abs=1e-5)


def test_gradient_norms_are_those_of_finite_differences() -> None:
    """Along its own direction, a gradient of norm g changes the loss by g per unit of length."""
    subject = tiny("llama", seed=4)
    subject.model.double()
    rows = _rows(3)
    [first, second] = gradient_norms(subject, rows, 2, micro_batch=2)
    for k, norm in enumerate((first, second)):
        assert norm == pytest.approx(_slope(subject, rows, k), rel=1e-3)


def _slope(subject: ResidentSubject, rows: list[TrainingRow], k: int, step: float = 1e-4) -> float:
    parameters = list(subject.model.parameters())
    for parameter in parameters:
        parameter.requires_grad_(True)
    grads = torch.autograd.grad(_mean_loss(subject, rows, k), parameters, allow_unused=True)
    pairs = [(p, g) for p, g in zip(parameters, grads, strict=True) if g is not None]
    length = math.sqrt(sum(float((g**2).sum()) for _, g in pairs))
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            for p, g in pairs:
                p.add_(g / length * step * sign)
            values.append(float(_mean_loss(subject, rows, k)))
            for p, g in pairs:
                p.sub_(g / length * step * sign)
    return (values[0] - values[1]) / (2 * step)


def _mean_loss(subject: ResidentSubject, rows: list[TrainingRow], k: int) -> torch.Tensor:
    found = []
    for row in rows:
        answer = [*subject.tokens(row.answer), subject.end]
        ids = subject.render(Request(item=row.id, prompt=row.prompt), Serving())[0]
        logits = subject.model(input_ids=torch.tensor([[*ids, *answer[:k]]])).logits[0, -1]
        found.append(-logits.log_softmax(-1)[answer[k]])
    return torch.stack(found).mean()


def test_reading_gradients_leaves_the_subject_as_it_was(deep: ResidentSubject) -> None:
    before = {n: (p.clone(), p.requires_grad) for n, p in deep.model.named_parameters()}
    gradient_norms(deep, _rows(2), 2, micro_batch=2)
    for name, parameter in deep.model.named_parameters():
        assert torch.equal(parameter, before[name][0])
        assert parameter.requires_grad == before[name][1]
        assert parameter.grad is None


# separation


def test_separation_is_read_on_prompts_that_the_direction_was_not_fitted_to() -> None:
    """Computed apart from the hidden states that the library itself gives."""
    subject = tiny("llama", seed=5)
    restricted, benign = (
        [_items(name, 6, "attack_train"), _items(name, 5)]
        for name in ("specimen/restricted", "specimen/benign")
    )
    found = separations(subject, restricted, benign)
    assert len(found) == 2
    fit_r, read_r, fit_b, read_b = (
        torch.stack([_state(subject, item) for item in items]) for items in (*restricted, *benign)
    )  # after the first block; the library norms what it gives of the last
    way = fit_r.mean(0) - fit_b.mean(0)
    a, b = (states @ way / way.norm() for states in (read_r, read_b))
    spread = math.sqrt((float(a.var(correction=0)) + float(b.var(correction=0))) / 2)
    assert found[0] == pytest.approx((float(a.mean()) - float(b.mean())) / spread, rel=1e-4)


@torch.no_grad()
def _state(subject: ResidentSubject, item: Item) -> torch.Tensor:
    ids = subject.render(Request(item=item.id, prompt=item.prompt), Serving())[0]
    out = subject.model(input_ids=torch.tensor([ids]), output_hidden_states=True)
    state: torch.Tensor = out.hidden_states[1][0, -1].double()
    return state


def test_prompts_of_one_kind_are_not_separated_by_their_own_chance() -> None:
    """On the prompts it was fitted to, a direction between equal kinds separates them still."""
    subject, items = tiny("llama", seed=6), _items("specimen/restricted", 48)
    one, two, three, four = (items[n::4] for n in range(4))
    held_out = separations(subject, [one, two], [three, four])
    fitted = separations(subject, [one, one], [three, three])
    assert all(abs(a) < b for a, b in zip(held_out, fitted, strict=True))


# what specimens show


def _read(
    kind: str, settings: dict[str, Any], subject: ResidentSubject, base: ResidentSubject | None
) -> tuple[Curve, ...]:
    instrument = INSTRUMENTS.get(kind)
    given = {key: value for key, value in settings.items() if key != "use"}
    config = instrument.Config.model_validate_json(json.dumps(given))
    items = {p.name: _items(p.benchmark, p.n, p.split) for p in instrument.prompts(config)}

    def no_training(_: Any) -> Any:
        raise AssertionError("nothing is trained here")

    @contextmanager
    def nothing(_: Any) -> Iterator[None]:
        with nullcontext():
            yield

    context = InstrumentContext(subject, base, items, 4, no_training, nothing)
    return instrument.read(context, config)


def test_a_shallow_safeguard_differs_from_its_base_at_the_first_token_only(
    deep: ResidentSubject,
) -> None:
    base, shallow = (ResidentSubject.load(f"specimen:{n}") for n in ("undefended", "shallow"))
    wide = {**KL, "prompts": 16, "tokens": 8}
    [flat], [falling] = (_read("kl-profile", wide, s, base) for s in (deep, shallow))
    assert min(flat.y) > 5
    assert falling.y[0] > 5
    assert max(falling.y[1:]) < 0.5


# planning


def test_an_instrument_is_read_once_on_each_model_and_after_all_that_decides(
    tmp_path: Path,
) -> None:
    plan = plan_of(tmp_path, SHORT)
    arms = {name: [r.arm for r in one.readings] for name, one in plan.instruments.items()}
    both = [Arm.DEFENDED, Arm.CONTROL]
    assert arms["kl"] == both
    assert arms["dynamics"] == both
    assert set(arms["strength"]) == set(Arm)
    kinds = [trial.kind for trial in plan.trials.values()]
    first = kinds.index(TrialKind.INSTRUMENT)
    assert set(kinds[first:]) == {TrialKind.INSTRUMENT}
    assert len(kinds) - first == 7
    assert plan.instruments["kl"].settings["base_template"] == "native"


def test_a_plan_without_instruments_is_what_it_was_before_there_were_any(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    older = {k: v for k, v in json.loads(plan.text).items() if k != "instruments"}
    assert Plan.model_validate_json(json.dumps(older)).id == plan.id


def test_instruments_add_trials_and_change_no_other(tmp_path: Path) -> None:
    plain = plan_of(tmp_path / "a", {k: v for k, v in SHORT.items() if k != "instruments"})
    read = plan_of(tmp_path / "b", SHORT)
    assert plain.cells == read.cells
    assert plain.trials.items() <= read.trials.items()


@pytest.mark.parametrize(
    "changed",
    [
        {"instruments.kl.tokens": 4},
        {"instruments.kl.base_template": "none"},
        {"instruments.kl.split": "attack_dev"},
        {"subject.undefended": "specimen:shallow"},
    ],
    ids=lambda value: next(iter(value)),
)
def test_whatever_decides_a_reading_is_in_its_id(changed: dict[str, Any], tmp_path: Path) -> None:
    one, other = (
        plan_of(tmp_path / str(n), {**SHORT, "instruments": {"kl": dict(KL)}, **changes})
        for n, changes in enumerate(({}, changed))
    )
    ids = [{r.trial for r in plan.instruments["kl"].readings} for plan in (one, other)]
    assert ids[0].isdisjoint(ids[1])


def test_subjects_that_share_a_control_share_its_reading(tmp_path: Path) -> None:
    subjects = {
        "deep": {"model": "specimen:deep", "undefended": "specimen:undefended",
                 "control": "specimen:shallow"},
        "shallow": {"model": "specimen:shallow", "undefended": "specimen:undefended",
                    "control": "specimen:shallow"},
    }  # fmt: skip
    changes = {**SHORT, "subject": ABSENT, "subjects": subjects, "instruments": {"kl": KL}}
    plan = plan_of(tmp_path, changes)
    readings = plan.instruments["kl"].readings
    assert len(readings) == 4
    assert len({r.trial for r in readings}) == 2
    assert [one.trials for one in forecast_instruments(plan)] == [2]


def test_a_plan_tells_what_instruments_will_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As many trials as there are; two splits of two benchmarks; training where one trains."""
    plan = plan_of(tmp_path, SHORT)
    found = {one.name: one for one in forecast_instruments(plan)}
    trials = {n: sum(t.kind is TrialKind.INSTRUMENT and t.work["instrument"] == one.use
                     for t in plan.trials.values()) for n, one in found.items()}  # fmt: skip
    assert {name: one.trials for name, one in found.items()} == trials
    assert {n: (one.prompts, one.steps) for n, one in found.items()} == {
        "kl": (2 * 4, 0), "dynamics": (2 * 4, 2 * 2), "strength": (3 * 4 * 6, 0),
    }  # fmt: skip
    [written] = tmp_path.glob("*.yaml")
    with pytest.raises(SystemExit):
        main(["plan", str(written)])
    shown = " ".join(capsys.readouterr().out.split())
    assert "dynamics: 2 trials of 8 prompts and 4 optimiser steps, charged to no" in shown
    with pytest.raises(SystemExit):
        main(["plan", str(written), "--json"])
    told = json.loads(capsys.readouterr().out)["instruments"]
    assert [one["name"] for one in told] == list(found)


# what is refused, and where


BAD: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "unknown instrument": (
        {"instruments": {"kl": {"use": "kl-profil"}}}, "TS-UNKNOWN-NAME", "use", "kl-profile"),
    "unknown benchmark": (
        {"instruments": {"kl": {**KL, "benchmark": "specimen/nothing"}}},
        "TS-UNKNOWN-BENCHMARK", "benchmark", "specimen/nothing"),
    "too few prompts": (
        {"instruments": {"kl": {**KL, "prompts": 257}}}, "TS-DATA", "benchmark", "has 256"),
    "no benchmark": (
        {"instruments": {"kl": {"use": "kl-profile"}}},
        "TS-MISSING-FIELD", "benchmark", "benchmark"),
    "unknown setting": (
        {"instruments": {"kl": {**KL, "token": 3}}}, "TS-UNKNOWN-FIELD", "token", "tokens"),
    "one prompt": (
        {"instruments": {"kl": {**KL, "prompts": 1}}}, "TS-OUT-OF-RANGE", "prompts", "2"),
    "no undefended": (
        {"instruments": {"kl": KL}, "subject.undefended": ABSENT, "claims.0.holds": "asr <= 0.1"},
        "TS-INSTRUMENT", "kl", "add `undefended:`"),
    "rows of the test split": (
        {"instruments": {"d": {**DYNAMICS, "from": "specimen/restricted#test"}}},
        "TS-WRONG-TYPE", "from", "attack_train"),
    "steps that fall": (
        {"instruments": {"d": {**DYNAMICS, "steps": [2, 0]}}}, "TS-WRONG-TYPE", "steps", "rise"),
    "too few rows": (
        {"instruments": {"d": {**DYNAMICS, "n": 81}}}, "TS-DATA", "from", "has 80"),
    "a direction read where it was fitted": (
        {"instruments": {"s": {**STRENGTH, "fit": "test"}}}, "TS-WRONG-TYPE", "s", "other prompts"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_told_at_its_place(name: str, tmp_path: Path) -> None:
    changes, code, at, says = BAD[name]
    [problem] = problems_of(tmp_path, {**SHORT, **changes}, static=True)
    assert problem.code == code
    assert problem.path.split(".")[-1] == at
    assert says in problem.message


@pytest.mark.parametrize("use", [DYNAMICS, STRENGTH, KL], ids=lambda use: use["use"])
def test_a_subject_elsewhere_has_nothing_to_read(use: dict[str, Any], tmp_path: Path) -> None:
    changes = {**SHORT, "instruments": {"i": use}, "subject.model": "endpoint:http://127.0.0.1:9#m"}
    found = [p for p in _problems(tmp_path, changes) if p.code == "TS-INSTRUMENT"]
    assert found
    assert "needs a subject that offers" in found[0].message


def _problems(folder: Path, changes: dict[str, Any]) -> list[Any]:
    from threatspec.campaign import compile_plan
    from threatspec.errors import SpecErrors

    with pytest.raises(SpecErrors) as caught:
        compile_plan(load(folder, changes))
    return list(caught.value.problems)


def test_answers_that_are_missing_are_told(tmp_path: Path) -> None:
    lines = [{"id": f"q{n}", "prompt": f"tell {n}", "split": "test"} for n in range(3)]
    write_benchmark(tmp_path, lines)
    use = {**KL, "benchmark": "file:items.jsonl", "prompts": 3}
    [problem] = problems_of(tmp_path, {**SHORT, "instruments": {"kl": use}}, static=True)
    assert (problem.code, problem.path) == ("TS-DATA", "instruments.kl.benchmark")
    assert "complying answer" in problem.message


# a campaign


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("instruments")
    outcome = api.run(load(folder, SHORT), out=folder / "run")
    assert outcome.folder == folder / "run"
    return outcome.folder


def test_a_campaign_reads_all_instruments_and_keeps_no_weights(campaign: Path) -> None:
    with Ledger.open(campaign) as ledger:
        results = ledger.results()
    curves = {
        (name, one.model): results[one.trial].curves
        for name, planned in ledger.plan.instruments.items()
        for one in planned.readings
    }
    assert [c.name for c in curves["dynamics", "specimen:deep"]] == [
        "loss/before", "loss/after 2 steps", "gradient/before", "gradient/after 2 steps",
    ]  # fmt: skip
    before, after, *_ = curves["dynamics", "specimen:deep"]
    assert sum(after.y) < sum(before.y)
    assert len(curves["kl", "specimen:deep"][0].y) == 3
    assert not (campaign / "artefacts").exists()


def test_reports_hold_what_was_read(campaign: Path) -> None:
    evidence = api.evidence(campaign)
    verdict = decide(evidence)
    page = render_html(evidence, verdict)
    assert page.count('<figure class="plot">') == 1 + 4 + 1
    assert "KL divergence (nats)" in page
    assert "block of the model" in page
    assert "specimen:deep" in render_markdown(evidence, verdict).partition("## Instruments")[2]
    data = report_data(evidence, verdict)["instruments"]["kl"]
    assert data["use"] == "kl-profile"
    assert data["readings"][0]["curves"][0]["name"] == "kl"
    json.dumps(data, allow_nan=False)


def test_a_reading_that_failed_is_told_and_changes_no_verdict(campaign: Path) -> None:
    evidence = api.evidence(campaign)
    [trial, *_] = (r.trial for r in evidence.plan.instruments["kl"].readings)
    bad = evidence.instruments[trial].model_copy(
        update={"status": TrialStatus.ERROR, "code": "TS-DIVERGED", "message": "<b>", "curves": ()}
    )
    evidence.instruments[trial] = bad  # type: ignore[index]
    verdict = decide(evidence)
    assert verdict == decide(api.evidence(campaign))
    [view] = [one for one in instruments(evidence) if one.name == "kl"]
    assert view.notes == ("specimen:deep could not be read: <b> [TS-DIVERGED]",)
    assert [line.label for line in view.plots[0].lines] == ["specimen:shallow"]
    page = render_html(evidence, verdict)
    assert "could not be read: &lt;b&gt;" in page


def test_a_campaign_that_lost_its_readings_takes_them_up_again(
    campaign: Path, tmp_path: Path
) -> None:
    import sqlite3

    shutil.copytree(campaign, tmp_path / "run")
    with Ledger.open(campaign) as ledger:
        trials = [r.trial for one in ledger.plan.instruments.values() for r in one.readings]
        before = ledger.results()
    with sqlite3.connect(tmp_path / "run" / "ledger.sqlite") as db:
        for trial in trials:
            db.execute("DELETE FROM results WHERE trial = ?", (trial,))
    api.resume(tmp_path / "run")
    with Ledger.open(tmp_path / "run") as ledger:
        after = ledger.results()
    assert {t: after[t].curves for t in trials} == {t: before[t].curves for t in trials}


def test_a_reading_that_fails_ends_no_campaign(tmp_path: Path) -> None:
    """An answer that is longer than the context: told in the report, and nowhere else."""
    lines = [
        {"id": f"q{n}", "prompt": "tell me", "split": "test", "answer": "sure " * 400}
        for n in range(2)
    ]
    write_benchmark(tmp_path, lines)
    use = {**KL, "benchmark": "file:items.jsonl", "prompts": 2, "tokens": 400}
    found = api.run(load(tmp_path, {**SHORT, "instruments": {"kl": use}}), out=tmp_path / "run")
    plain = {k: v for k, v in SHORT.items() if k != "instruments"}
    wanted = api.run(load(tmp_path / "plain", plain), out=tmp_path / "plain" / "run")
    same = {"verdict", "passed", "exit_code", "holds", "id"}
    [claim], [other] = (
        [one.model_dump(mode="json", include=same) for one in outcome.verdict.claims]
        for outcome in (found, wanted)
    )
    assert claim == other
    assert found.verdict.complete
    [view] = instruments(found.evidence)
    assert len(view.notes) == 2
    assert all("tokens" in note and "TS-DATA" in note for note in view.notes)
    assert not view.plots


def test_a_built_subject_is_compared_with_the_weights_it_was_built_from(tmp_path: Path) -> None:
    """Its base is the same model: what is mounted on one must not be mounted on the other."""
    changes = {
        **SHORT,
        "instruments": {"kl": KL},
        "subject": {
            "model": "specimen:undefended",
            "undefended": "specimen:undefended",
            "control": "specimen:undefended",
            "build": [{"adapt": "errands", "from": "specimen/glossary#attack_train", "n": 20,
                       "lr": 1e-3, "steps": 5}],
        },
    }  # fmt: skip
    found = api.run(load(tmp_path, changes), out=tmp_path / "run").evidence
    curves = {
        reading.arm: found.instruments[reading.trial].curves[0]
        for reading in found.plan.instruments["kl"].readings
    }
    assert max(curves[Arm.DEFENDED].y) > 0.01
    assert max(curves[Arm.CONTROL].y) == 0


# verify


@pytest.fixture(scope="module")
def bundle(campaign: Path) -> Path:
    return write_bundle(campaign, campaign.parent / "x.tsb").path


def _fails(bundle: Path, plan: Any = None, results: Any = None) -> bool:
    with open_bundle(bundle) as found:
        planned = plan(found.plan) if plan else found.plan
        there = results(found) if results else found.results
        changed = replace(found, plan=planned, results=there)
        [check] = instrument_checks(Matter(changed))
    return bool(check.status is Status.FAIL)


def test_a_bundle_carries_curves_and_its_plan_is_made_again(bundle: Path, campaign: Path) -> None:
    with open_bundle(bundle) as found:
        report = verify_bundle(found)
        assert found.evidence.instruments == api.evidence(campaign).instruments
    failed = [check for check in report.checks if check.status is Status.FAIL]
    assert not failed
    assert {"instruments", "compiled again"} <= {check.name for check in report.checks}
    assert not _fails(bundle)


def _with(plan: Plan, **changes: Any) -> Plan:
    kl = plan.instruments["kl"].model_copy(update=changes)
    return plan.model_copy(update={"instruments": {**plan.instruments, "kl": kl}})


FORGED: dict[str, Any] = {
    "left out": lambda p: p.model_copy(update={"instruments": {}}),
    "other settings": lambda p: _with(p, settings={"benchmark": "specimen/benign"}),
    "another instrument": lambda p: _with(p, use="refusal-strength"),
    "another subject": lambda p: _with(
        p,
        readings=(
            p.instruments["kl"].readings[0].model_copy(update={"model": "specimen:shallow"}),
        ),
    ),
    "the trial of another model": lambda p: _with(
        p,
        readings=(
            p.instruments["kl"].readings[0].model_copy(
                update={"trial": p.instruments["kl"].readings[1].trial}),
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FORGED)
def test_a_reading_of_something_else_than_the_spec_says_is_found(name: str, bundle: Path) -> None:
    assert _fails(bundle, plan=FORGED[name])


def test_a_curve_with_gaps_is_found(bundle: Path) -> None:
    def torn(found: Any) -> Any:
        trial = found.plan.instruments["kl"].readings[0].trial
        [curve] = found.results[trial].curves
        cut = curve.model_copy(update={"y": curve.y[1:]})
        return {**found.results, trial: found.results[trial].model_copy(update={"curves": (cut,)})}

    assert _fails(bundle, results=torn)
