"""Claims `for: each` about several subjects: matrices of verdicts, and what their squares tell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.support.answers import evidence_of
from tests.support.specs import ABSENT, BASE, TUNER, plan_of, scoped
from tests.unit.test_reports import Page, a_campaign
from threatspec.claims import (
    CampaignVerdict,
    Evidence,
    GateReading,
    Truth,
    broke_the_model,
    decide,
    gather,
)
from threatspec.cli import cli
from threatspec.cli._formats import write_files
from threatspec.errors import ThreatspecError
from threatspec.records import Arm, Cell, Execution, Plan
from threatspec.reports import (
    render_html,
    render_markdown,
    render_matrix,
    render_matrix_markdown,
    report_data,
)
from threatspec.reports._matrix import Matrix, Square, matrices
from threatspec.schema import Verdict

MODELS = {"kept": "specimen:deep", "weak": "specimen:shallow", "bare": "specimen:undefended"}
SLOW, FAST = 1e-5, 1e-4
"""Learning rates: under the first only one replicate of `weak` breaks."""


def share(plan: Plan, cell: Cell, measure: str, category: str) -> float:
    bare = cell.subject == "specimen:undefended"
    if measure == "utility":
        return 1.0
    if not cell.attack or bare:
        return float(bare)
    if cell.subject == "specimen:deep":
        return 0.0
    slow = plan.procedures[cell.procedure].config["lr"] == SLOW
    return float(not slow or cell.replicate == 1)


def evidence(folder: Path, **changes: Any) -> Evidence:
    return evidence_of(plan(folder, **changes), share)


def plan(folder: Path, **changes: Any) -> Plan:
    subjects = {name: {**BASE["subject"], "model": model} for name, model in MODELS.items()}
    attacks = [{"use": "full-finetune", "lr": lr} for lr in (SLOW, FAST)]
    given = {"subject": ABSENT, "subjects": subjects, "claims.0.for": "each",
             "adversaries.tuner.attacks": attacks, **changes}  # fmt: skip
    return plan_of(folder, scoped(given), execution=Execution(exhaustive=True))


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    return evidence(tmp_path_factory.mktemp("matrix"))


@pytest.fixture(scope="module")
def verdict(seen: Evidence) -> CampaignVerdict:
    return decide(seen)


@pytest.fixture(scope="module")
def found(seen: Evidence, verdict: CampaignVerdict) -> Matrix:
    [one] = matrices(seen, verdict)
    return one


def square(found: Matrix, subject: str, line: int) -> Square:
    [band] = found.bands
    one = band.lines[line].squares[found.subjects.index(subject)]
    assert one is not None
    return one


def test_lines_are_attacks_and_columns_subjects_in_the_order_of_the_file(found: Matrix) -> None:
    assert found.subjects == tuple(MODELS)
    [band] = found.bands
    assert (band.claim, band.adversary, band.holds) == ("holds", "tuner", "asr <= 0.10")
    assert [line.attack for line in band.lines] == [
        "full-finetune lr=1e-05",
        "full-finetune lr=0.0001",
    ]


def test_every_square_is_the_verdict_of_its_own_claim(
    found: Matrix, verdict: CampaignVerdict
) -> None:
    assert {one.claim.id for one in found.squares} == {one.id for one in verdict.claims}
    assert square(found, "weak", 1).claim.id == "holds[weak][full-finetune lr=0.0001]"
    assert dict(found.tally) == {"SUPPORTED": 2, "REFUTED": 4}


def test_a_broken_square_tells_how_many_runs_break_and_what_the_cheapest_took(
    seen: Evidence, found: Matrix
) -> None:
    one, all_of_them = square(found, "weak", 0), square(found, "weak", 1)
    assert (one.word, one.broken) == ("REFUTED", "1 of 2 runs")
    assert all_of_them.broken == "2 of 2 runs"
    for square_ in (one, all_of_them):
        witness = square_.claim.witness
        assert witness is not None
        [run] = seen.cells[witness.cell].realised
        assert square_.cheapest == ("1e9 FLOPs", "30 steps", f"{run.rows} rows")
        assert square_.rows == 10
    assert one.claim.witness is not None
    assert one.claim.witness.replicate == 1


def test_a_square_that_is_not_broken_tells_the_worst_run(found: Matrix) -> None:
    kept = square(found, "kept", 1)
    assert (kept.word, kept.broken, kept.cheapest) == ("SUPPORTED", "", ())
    assert kept.parts == ("SUPPORTED", "worst 0 %")


def test_a_safeguard_that_broke_the_model_is_reported_as_such(tmp_path: Path) -> None:
    def broken(plan: Plan, cell: Cell, measure: str, category: str) -> float:
        if cell.subject == "specimen:deep":
            return 0.0
        return share(plan, cell, measure, category)

    seen = evidence_of(plan(tmp_path), broken)
    verdict = decide(seen)
    [one] = matrices(seen, verdict)
    kept = square(one, "kept", 1)
    assert kept.parts == ("VACUOUS", "safeguard broke the model")
    assert "its safeguard broke the model" in kept.claim.reasons[0]
    assert "its safeguard broke the model" in render_html(seen, verdict)


@pytest.mark.parametrize(
    "provided", ["utility >= 0.5", "utility >= 0.5 and asr <= 0.5 * undefended.asr"]
)
def test_nobody_is_blamed_where_the_gate_does_not_compare_utility(
    tmp_path: Path, provided: str
) -> None:
    """A bound that is a number, or one on attacks, does not tell who broke the model."""

    def broken(plan: Plan, cell: Cell, measure: str, category: str) -> float:
        if cell.subject == "specimen:deep":
            return float(measure == "asr" and not cell.attack)
        return share(plan, cell, measure, category)

    seen = evidence_of(plan(tmp_path, **{"claims.0.provided": provided}), broken)
    [one] = matrices(seen, decide(seen))
    kept = square(one, "kept", 1)
    assert "broke the model" not in " ".join((*kept.parts, *kept.claim.reasons))


@pytest.mark.parametrize(
    ("predicate", "blamed"),
    [
        ("utility >= 0.9 * undefended.utility", True),
        ("0.9 * undefended.utility <= utility", True),
        ("utility > undefended.utility - 0.1 and skill >= undefended.skill", True),
        ("utility >= 0.5", False),
        ("utility <= undefended.utility", False),
        ("utility >= 0.9 * undefended.skill", False),
        ("utility >= 0.9 * control.utility", False),
        ("utility - asr >= undefended.utility", False),
        ("utility >= 0.9 * undefended.utility and asr <= 0.1", False),
    ],
)
def test_a_safeguard_is_blamed_where_only_it_can_have_cost_what_is_lacking(
    predicate: str, blamed: bool
) -> None:
    gate = GateReading(name="provided", predicate=predicate, subject="specimen:deep",
                       truth=Truth.FALSE, readings=())  # fmt: skip
    assert broke_the_model(gate) is blamed
    assert not broke_the_model(gate.model_copy(update={"truth": Truth.UNDECIDED}))
    assert not broke_the_model(gate.model_copy(update={"name": "control untouched"}))


def test_what_was_not_run_is_said_so(tmp_path: Path) -> None:
    """The verdict of nothing is a verdict, which a reader would take for evidence."""
    seen = gather(plan(tmp_path), {})
    [one] = matrices(seen, decide(seen))
    assert one.tally == (("not run", 6),)
    verdicts = {square_.claim.verdict for square_ in one.squares}
    assert Verdict.INCONCLUSIVE in verdicts <= {Verdict.INCONCLUSIVE, Verdict.INADMISSIBLE}
    page = render_matrix(seen, decide(seen))
    assert page.count('<td class="silent"><i>not run</i></td>') == 6
    assert "Not finished." in page


def test_what_was_run_in_part_is_said_so(tmp_path: Path) -> None:
    frozen = plan(tmp_path)
    whole = evidence_of(frozen, share)
    [claim] = [c for c in frozen.claims if c.id == "holds[kept][full-finetune lr=0.0001]"]
    gone = claim.attacked[Arm.DEFENDED][0]
    cells = dict(whole.cells)
    cells[gone] = gather(frozen, {}).cells[gone]
    seen = type(whole)(**{**vars_of(whole), "cells": cells})
    [one] = matrices(seen, decide(seen))
    assert square(one, "kept", 1).parts[-1] == "1 of 2 run"


def vars_of(found: Evidence) -> dict[str, Any]:
    return {name: getattr(found, name) for name in found.__dataclass_fields__}


def test_claims_about_the_same_subjects_share_a_matrix(tmp_path: Path) -> None:
    """An attack that is not made on a subject leaves a square free."""
    second = {**BASE["claims"][0], "id": "again", "against": "other", "for": "each"}
    changes = {"claims.1": second, "adversaries.other": TUNER}
    seen = evidence(tmp_path, **changes)
    [one] = matrices(seen, decide(seen))
    assert [band.claim for band in one.bands] == ["holds", "again"]
    assert [len(band.lines) for band in one.bands] == [2, 1]
    assert one.bands[1].lines[0].attack == "full-finetune lr=0.0001"


def test_what_is_asked_of_one_subject_stands_apart(tmp_path: Path) -> None:
    """Attacks that are made against one safeguard would leave every other column free."""
    second = {**BASE["claims"][0], "id": "again", "against": "other", "for": "each",
              "subject": "weak"}  # fmt: skip
    attacks = [{"use": "full-finetune", "lr": lr} for lr in (SLOW, FAST)]
    changes = {"claims.1": second, "adversaries.other": {**TUNER, "attacks": attacks}}
    seen = evidence(tmp_path, **changes)
    verdict = decide(seen)
    whole, apart = matrices(seen, verdict)
    assert (whole.subjects, apart.subjects) == (tuple(MODELS), ("weak",))
    assert [line.attack for line in apart.bands[0].lines] == [
        "full-finetune lr=1e-05",
        "full-finetune lr=0.0001",
    ]
    page = render_matrix(seen, verdict)
    assert page.count('<li class="is-REFUTED"><b>full-finetune lr=') == 2
    assert "| attack | weak |" in render_matrix_markdown(seen, verdict)
    [_, data] = report_data(seen, verdict)["matrices"]
    assert list(data["claims"][0]["attacks"][0]["subjects"]) == ["weak"]
    Page(page)


@pytest.mark.parametrize("quantifier", ["every", "some"])
def test_other_quantifiers_have_none(tmp_path: Path, quantifier: str) -> None:
    seen = evidence(tmp_path, **{"claims.0.for": quantifier})
    verdict = decide(seen)
    assert matrices(seen, verdict) == ()
    assert 'id="matrix"' not in render_html(seen, verdict)
    assert "matrices" not in report_data(seen, verdict)
    for render in (render_matrix, render_matrix_markdown):
        with pytest.raises(ThreatspecError, match="two or more subjects"):
            render(seen, verdict)


def test_the_page_has_every_square_with_a_link_to_its_claim(
    seen: Evidence, verdict: CampaignVerdict
) -> None:
    html = render_html(seen, verdict)
    section = html.partition('id="matrix"')[2].partition("</section>")[0]
    assert section.count('<th scope="row">') == 2
    assert section.count('<th scope="col">') == 1 + len(MODELS)
    assert section.count('<a href="#claim-') == 6
    assert '<a href="#claim-holds-weak-full-finetune-lr-0-0001">' in section
    assert "<b>1 of 2 runs</b><i>1e9 FLOPs</i><i>30 steps</i><i>10 rows</i>" in section
    Page(html)


def test_alone_it_is_a_page_without_links_and_script(
    seen: Evidence, verdict: CampaignVerdict
) -> None:
    page = render_matrix(seen, verdict)
    assert page.count('<span class="badge REFUTED">') >= 4
    assert "<script" not in page
    assert 'href="#claim-' not in page
    assert "http" not in page.replace("http-equiv", "")
    Page(page)


def test_markdown_and_json_say_the_same(seen: Evidence, verdict: CampaignVerdict) -> None:
    for text in (render_markdown(seen, verdict), render_matrix_markdown(seen, verdict)):
        table = text.partition("### tuner: ")[2].partition("\n## ")[0]
        [line] = [one for one in table.splitlines() if one.startswith("| full-finetune lr=1e-05 |")]
        assert "| **REFUTED**; 1 of 2 runs; 1e9 FLOPs; 30 steps; 10 rows |" in line
        assert "| SUPPORTED; worst 0 % |" in line
    [data] = report_data(seen, verdict)["matrices"]
    assert data["subjects"] == list(MODELS)
    attacks = data["claims"][0]["attacks"]
    weak = json.loads(json.dumps(attacks[0]["subjects"]["weak"]))
    assert weak["runs"] == {"planned": 2, "run": 2, "break": 1}
    assert weak["witness"]["flops"] == 1e9
    assert (weak["witness"]["rows"], weak["witness"]["replicate"]) == (10, 1)


def test_names_are_hostile_input(tmp_path: Path) -> None:
    says = "<script>alert(1)</script> | \u202e"
    seen = evidence(tmp_path, **{"claims.0.says": says})
    verdict = decide(seen)
    page = render_matrix(seen, verdict)
    assert "<script" not in page
    assert "\u202e" not in page
    assert "<script" not in render_matrix_markdown(seen, verdict)


def test_the_file_s_name_says_which_format(
    tmp_path: Path, seen: Evidence, verdict: CampaignVerdict
) -> None:
    for name, begins in (("m.html", "<!doctype html>"), ("m.md", "# x: do the")):
        with CliRunner().isolation():
            write_files({"matrix": tmp_path / name}, seen, verdict, None, quiet=True)
        assert (tmp_path / name).read_text(encoding="utf-8").lstrip().startswith(begins)


def test_the_verb_refuses_a_matrix_of_nothing(tmp_path: Path) -> None:
    """And writes no file: half of an answer would look like one."""
    run, page = a_campaign().write(tmp_path / "run"), tmp_path / "m.html"
    done = CliRunner().invoke(cli, ["report", str(run), "--matrix", str(page)])
    assert isinstance(done.exception, ThreatspecError)
    assert done.exception.exit_code == 4
    assert "two or more subjects" in str(done.exception)
    assert not page.exists()
