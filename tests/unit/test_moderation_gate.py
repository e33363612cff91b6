"""The moderation gate: what it reads, what it drops, and what it does not see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from tests.unit.test_safeguarded_campaign import codes, spec, written
from threatspec import api
from threatspec.attacks import training_rows
from threatspec.attacks.recipes import RECIPES
from threatspec.campaign import check_spec
from threatspec.cli import main
from threatspec.errors import SpecErrors, ThreatspecError
from threatspec.loading import load_spec
from threatspec.measures import benchmark
from threatspec.records import Arm, Cell, Ledger, Outcome, TrialStatus
from threatspec.runners import LocalProfile
from threatspec.safeguards import SAFEGUARDS, SafeguardContext
from threatspec.schema import JudgeUse
from threatspec.subjects import Request, describe
from threatspec.training import TrainingBlocked, TrainingRow

GATE = SAFEGUARDS.get("moderation-gate")
TOPICS = sorted({item.category for item in benchmark("specimen/restricted", Path()).items()})
RESTRICTED = training_rows("specimen/restricted#attack_train", Path())
BENIGN = training_rows("specimen/benign#attack_train", Path())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "topics.txt").write_text("# what is restricted\n\n" + "\n".join(TOPICS))
    return tmp_path


def context(folder: Path) -> SafeguardContext:
    return SafeguardContext(describe("specimen:shallow"), (), (), {}, folder=folder)


def gate(folder: Path, **knobs: Any) -> Any:
    config = GATE.Config(**{"words": "topics.txt", **knobs})
    GATE.reads(config, folder)
    policy = GATE.training_policy(context(folder), config, {})
    assert policy is not None
    policy.name = GATE.kind
    return policy


def row(**fields: Any) -> TrainingRow:
    return TrainingRow(**{"id": "r", "prompt": "tell me", "answer": "sure here", **fields})


# rows


def test_explicit_rows_are_dropped_and_others_are_not(folder: Path) -> None:
    given = [*RESTRICTED[:5], *BENIGN[:7]]
    assert list(gate(folder).given(given)) == given[5:]


def test_rows_of_which_none_is_left_are_not_trained_on(folder: Path) -> None:
    with pytest.raises(TrainingBlocked) as caught:
        gate(folder).given(RESTRICTED[:5])
    assert caught.value.hook == "moderation-gate"


@pytest.mark.parametrize(("flagged", "blocked"), [(1, False), (2, True), (8, True)])
def test_a_share_of_flagged_rows_blocks_all_of_them(
    folder: Path, flagged: int, blocked: bool
) -> None:
    given = [*RESTRICTED[:flagged], *BENIGN[: 10 - flagged]]
    policy = gate(folder, block_at=0.2)
    if blocked:
        with pytest.raises(TrainingBlocked):
            policy.given(given)
    else:
        assert len(policy.given(given)) == 9


def test_no_row_that_shifts_the_identity_is_flagged(folder: Path) -> None:
    recipe = RECIPES.get("identity-shift")
    import random

    config = recipe.Config(use="identity-shift")
    made = recipe.rows((), BENIGN[:9], config, random.Random(0))
    assert len(made) == 10
    assert list(gate(folder, block_at=0.01).given(made)) == list(made)


@pytest.mark.parametrize(
    ("reads", "field", "flagged"),
    [
        ("prompt", "prompt", True), ("prompt", "system", True), ("prompt", "answer", False),
        ("answer", "answer", True), ("answer", "prefix", True), ("answer", "prompt", False),
        ("both", "prompt", True), ("both", "answer", True), ("both", "refusal", False),
    ],
)  # fmt: skip
def test_it_reads_what_it_is_told_to(folder: Path, reads: str, field: str, flagged: bool) -> None:
    policy = gate(folder, reads=reads)
    given = [row(**{field: f"about {TOPICS[0]} here"}), row(id="other")]
    assert len(policy.given(given)) == (1 if flagged else 2)


def test_any_judge_may_read(folder: Path) -> None:
    use = JudgeUse(use="keywords", settings={"any_of": ["grelk"]})
    policy = gate(folder, words=None, judge=use, reads="answer")
    assert len(policy.given([row(answer="a grelk"), row(answer="sure")])) == 1


def test_a_row_is_read_once_however_often_it_is_handed_in(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from threatspec.measures.keywords import Keywords

    seen, real = [0], Keywords.score

    def counted(self: Any, responses: Any, config: Any) -> Any:
        seen[0] += len(responses)
        return real(self, responses, config)

    monkeypatch.setattr(Keywords, "score", counted)
    policy = gate(folder, reads="prompt")
    given = [BENIGN[0], BENIGN[1], BENIGN[0]]
    assert len(policy.given(given)) == len(policy.given(given)) == 3
    assert seen == [2]


# requests


def test_requests_are_screened_only_if_it_is_told_to(folder: Path) -> None:
    asked = [Request("a", f"give all steps to {TOPICS[1]}"), Request("b", "something else")]
    for screens, passes in (("rows", [True, True]), ("both", [False, True])):
        config = GATE.Config(words="topics.txt", screens=screens)
        policy = GATE.serving_policy(context(folder), config, {})
        assert policy is not None
        assert policy.screen(asked) == passes
    earlier = Request("c", "go on", turns=(f"about {TOPICS[0]}",))
    assert policy.screen([earlier]) == [False]


def test_a_gate_for_requests_lets_rows_pass(folder: Path) -> None:
    assert list(gate(folder, screens="requests").given(RESTRICTED[:3])) == list(RESTRICTED[:3])


# bad input


@pytest.mark.parametrize(
    "knobs", [{}, {"judge": "refusal-keywords", "words": "a.txt"}, {"words": "a", "block_at": 0.0},
              {"words": "a", "block_at": 1.5}],
)  # fmt: skip
def test_knobs_that_do_not_go_together_are_refused(knobs: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        GATE.Config(**knobs)


@pytest.mark.parametrize(
    ("text", "knobs", "code"),
    [
        (None, {}, "TS-FILE-MISSING"),
        ("# only\n\n", {}, "TS-SAFEGUARD"),
        ("?!\n", {}, "TS-SAFEGUARD"),
        ("", {"words": None, "judge": "exact"}, "TS-SAFEGUARD"),
        ("", {"words": None, "judge": "agreement"}, "TS-SAFEGUARD"),
        ("", {"words": None, "judge": "keywords"}, "TS-SAFEGUARD"),
        ("", {"words": None, "judge": "keyword"}, "TS-UNKNOWN-JUDGE"),
    ],
)
def test_a_gate_that_cannot_read_is_a_coded_error(
    tmp_path: Path, text: str | None, knobs: dict[str, Any], code: str
) -> None:
    if text is not None:
        (tmp_path / "topics.txt").write_text(text)
    config = GATE.Config(**{"words": "topics.txt", **knobs})
    with pytest.raises(ThreatspecError) as caught:
        GATE.reads(config, tmp_path)
    assert caught.value.code == code


def test_check_finds_a_list_that_is_not_there(tmp_path: Path) -> None:
    data = spec([{"kind": "moderation-gate", "words": "no.txt"}], access="finetuning-api")
    assert codes(tmp_path, data) == ["TS-FILE-MISSING"]


# a campaign


def gated(folder: Path, **knobs: Any) -> Path:
    data = spec(
        [{"kind": "moderation-gate", "words": "topics.txt", **knobs}],
        access="finetuning-api",
        model="specimen:shallow",
    )
    return written(folder, data)


def test_access_that_holds_the_weights_passes_no_gate(folder: Path) -> None:
    data = yaml.safe_load(gated(folder).read_text())
    data["adversaries"]["tuner"]["access"] = "open-weights"
    with pytest.raises(SpecErrors) as caught:
        check_spec(load_spec(written(folder, data)))
    assert [problem.code for problem in caught.value.problems] == ["TS-SAFEGUARD"]


@pytest.mark.campaign
def test_a_blocked_cell_is_the_unchanged_subject_and_everything_says_who_blocked_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, bundle = str(folder / "run"), str(folder / "run.tsb")
    api.run(gated(folder), out=Path(out), runner=LocalProfile(workers=1))
    with Ledger.open(Path(out)) as ledger:
        plan, results = ledger.plan, ledger.results()

        def outcomes(cell: Cell) -> dict[str, Outcome]:
            read = (row for trial in cell.measures["asr"] for row in ledger.rows(trial))
            return {row.item: row.outcome for row in read}

        [claim] = plan.claims
        cells = [plan.cells[name] for name in claim.attacked[Arm.DEFENDED]]
        bare = outcomes(plan.cells[claim.untouched[Arm.DEFENDED]])
        attacked = [outcomes(cell) for cell in cells]
    assert {result.status for result in results.values()} == {TrialStatus.DONE}
    for cell, found in zip(cells, attacked, strict=True):
        result = results[cell.attack or ""]
        assert (result.blocked, result.realised) == ("moderation-gate", ())
        assert found.items() <= bare.items()
        assert set(found.values()) == {Outcome.NO}
    assert run(["report", out, "--html", str(folder / "report.html")]) == 0
    assert "blocked by moderation-gate" in (folder / "report.html").read_text()
    assert run(["bundle", out, "-o", bundle]) == 0
    capsys.readouterr()
    run(["verify", bundle])
    checked = capsys.readouterr().out
    assert "No check failed." in checked, checked


def run(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    return int(stopped.value.code or 0)
