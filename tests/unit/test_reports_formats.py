"""Formats of a report: each says what was decided, in the form that its readers accept."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.unit.test_reports import HOSTILE, MadeCampaign, a_campaign, five_verdicts, flat
from threatspec.claims import CampaignVerdict, decide
from threatspec.cli import main
from threatspec.errors import ExitCode, ThreatspecError
from threatspec.records import Arm, Budget, Spend
from threatspec.reports import (
    render_csv,
    render_html,
    render_junit,
    render_latex,
    render_markdown,
)
from threatspec.reports._axis import axis
from threatspec.reports._budget import budget_lines
from threatspec.reports._model import build
from threatspec.reports._predicates import Limit, limit, own_reading
from threatspec.resources import shipped
from threatspec.schema import Verdict


@pytest.fixture(scope="module")
def campaign() -> MadeCampaign:
    return a_campaign()


@pytest.fixture(scope="module")
def verdict(campaign: MadeCampaign) -> CampaignVerdict:
    return five_verdicts(campaign)


# What the schema published with Jenkins (`junit-10.xsd`) allows: attributes (those that must be
# there first) and children of each element.
JUNIT = {
    "testsuites": ((), ("name", "time", "tests", "failures", "errors"), ("testsuite",)),
    "testsuite": (
        ("name", "tests", "failures", "errors"),
        ("time", "skipped", "timestamp", "hostname", "id", "package", "group", "file"),
        ("properties", "testcase", "system-out", "system-err"),
    ),
    "properties": ((), (), ("property",)),
    "property": (("name", "value"), (), ()),
    "testcase": (
        ("name",),
        ("time", "classname", "group"),
        ("skipped", "error", "failure", "system-out", "system-err"),
    ),
    "failure": ((), ("type", "message"), ()),
    "system-out": ((), (), ()),
}
SUREFIRE_TIME = re.compile(r"(([0-9]{0,3},)*[0-9]{3}|[0-9]{0,3})*(\.[0-9]*)?")


def check_junit(element: ElementTree.Element) -> None:
    must, may, children = JUNIT[element.tag]
    assert set(must) <= set(element.attrib) <= {*must, *may}
    if "time" in element.attrib:
        assert SUREFIRE_TIME.fullmatch(element.attrib["time"])
    for child in element:
        assert child.tag in children
        check_junit(child)


class TestJunit:
    def test_it_is_what_the_published_schema_allows(
        self, campaign: MadeCampaign, verdict: CampaignVerdict
    ) -> None:
        check_junit(ElementTree.fromstring(render_junit(campaign.evidence, verdict)))

    def test_every_claim_is_a_case_and_fails_unless_it_is_as_expected(
        self, campaign: MadeCampaign, verdict: CampaignVerdict
    ) -> None:
        root = ElementTree.fromstring(render_junit(campaign.evidence, verdict))
        cases = {case.get("name"): case for case in root.iter("testcase")}
        assert list(cases) == [claim.id for claim in verdict.claims]
        for claim in verdict.claims:
            failure = cases[claim.id].find("failure")
            assert (failure is None) == claim.passed
            assert claim.scope in str(cases[claim.id].findtext("system-out"))
            if failure is not None:
                assert failure.get("type") == claim.verdict.value
                assert claim.next_step in str(failure.text)
        [suite] = root
        assert suite.get("failures") == str(sum(not claim.passed for claim in verdict.claims))
        assert suite.get("skipped") == "0"

    def test_properties_hold_verdicts_plan_and_exit_code(
        self, campaign: MadeCampaign, verdict: CampaignVerdict
    ) -> None:
        root = ElementTree.fromstring(render_junit(campaign.evidence, verdict))
        found = {p.get("name"): p.get("value") for p in root.iter("property")}
        assert found["plan"] == verdict.plan
        assert found["verdict refuted"] == "REFUTED"
        assert found["exit-code"] == str(int(ExitCode.INADMISSIBLE))


class TestMarkdown:
    def test_every_verdict_stands_with_its_scope_and_next_step(
        self, campaign: MadeCampaign, verdict: CampaignVerdict
    ) -> None:
        text = render_markdown(campaign.evidence, verdict)
        for claim in verdict.claims:
            assert f"| {claim.id} | **{claim.verdict.value}** |" in text
            assert f"- **Scope:** {claim.scope}" in text
            assert f"- **Next:** {claim.next_step}" in text
        assert "**witness**" in text
        assert "abliterate" in text

    def test_without_cells_it_is_a_summary(
        self, campaign: MadeCampaign, verdict: CampaignVerdict
    ) -> None:
        whole, short = (
            render_markdown(campaign.evidence, verdict, cells=cells) for cells in (True, False)
        )
        assert len(short) < len(whole)
        assert "replicate |" not in short


class TestCsv:
    def test_there_is_one_row_per_claim_cell_and_measure(
        self, campaign: MadeCampaign, verdict: CampaignVerdict
    ) -> None:
        rows = list(csv.DictReader(io.StringIO(render_csv(campaign.evidence, verdict))))
        wanted = [
            (claim.id, cell.cell, reading.measure, reading.tally.yes)
            for claim in verdict.claims
            for cell in claim.cells
            for reading in cell.readings
        ]
        found = [(r["claim"], r["cell"], r["measure"], int(r["yes"])) for r in rows]
        assert found == wanted
        assert {r["arm"] for r in rows} == {"defended", "control"}
        assert {r["claim"] for r in rows if r["witness"] == "yes"} == {"refuted"}
        assert all(0.0 <= float(r["lower"]) <= float(r["upper"]) <= 1.0 for r in rows)

    @pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", "\r=", "\n=", " =", "＝"])
    def test_a_spreadsheet_computes_nothing(
        self, campaign: MadeCampaign, verdict: CampaignVerdict, start: str
    ) -> None:
        [first, *_] = verdict.claims
        bad = f"{start}HYPERLINK(0)"
        cells = tuple(cell.model_copy(update={"note": bad}) for cell in first.cells)
        one = verdict.model_copy(update={"claims": (first.model_copy(update={"cells": cells}),)})
        rows = list(csv.DictReader(io.StringIO(render_csv(campaign.evidence, one))))
        assert {row["note"] for row in rows} == {f"'{start.strip()}HYPERLINK(0)"}


class TestLatex:
    def test_every_claim_has_a_line_with_its_worst_run(
        self, campaign: MadeCampaign, verdict: CampaignVerdict
    ) -> None:
        text = render_latex(campaign.evidence, verdict)
        body = text.split(r"\midrule")[1].split(r"\bottomrule")[0].strip().splitlines()
        assert len(body) == len(verdict.claims)
        [line] = [line for line in body if "{refuted}" in line]
        worst = max(
            (cell for cell in verdict.claims[0].cells if cell.arm is Arm.DEFENDED),
            key=lambda cell: cell.readings[0].tally.rate,
        )
        assert f"{worst.readings[0].tally.yes} of 120" in line
        assert "full-{}finetune" in line
        assert text.count(r"\begin{table*}") == 1

    def test_many_claims_are_several_tables(self, verdict: CampaignVerdict) -> None:
        claims = tuple(verdict.claims[0].model_copy(update={"id": f"claim-{n}"}) for n in range(31))
        campaign = a_campaign()
        planned = tuple(
            campaign.plan.claims[0].model_copy(update={"id": claim.id}) for claim in claims
        )
        plan = campaign.plan.model_copy(update={"claims": planned})
        evidence = campaign.evidence.__class__(plan, campaign.evidence.cells)
        text = render_latex(evidence, verdict.model_copy(update={"claims": claims}))
        assert text.count(r"\begin{table*}") == 2
        assert "(part 2 of 2)" in text

    def test_it_compiles(
        self, campaign: MadeCampaign, verdict: CampaignVerdict, tmp_path: Path
    ) -> None:
        program = shutil.which("pdflatex") or shutil.which("lualatex")
        if program is None:
            pytest.skip("needs pdflatex or lualatex (Debian: texlive-latex-recommended)")
        claims = tuple(
            claim.model_copy(update={"id": f"{claim.id} {HOSTILE} [x] *y ?` !` Grüße Ð 漢字"})
            for claim in verdict.claims
        )
        planned = tuple(
            plan.model_copy(update={"id": claim.id})
            for plan, claim in zip(campaign.plan.claims, claims, strict=True)
        )
        plan = campaign.plan.model_copy(update={"claims": planned})
        evidence = campaign.evidence.__class__(plan, campaign.evidence.cells)
        table = render_latex(evidence, verdict.model_copy(update={"claims": claims}))
        (tmp_path / "table.tex").write_text(table, encoding="utf-8")
        (tmp_path / "paper.tex").write_text(
            "\\documentclass{article}\\usepackage{booktabs}"
            "\\begin{document}\\input{table}\\end{document}",
            encoding="utf-8",
        )
        command = [program, "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout[-2000:]
        assert (tmp_path / "paper.pdf").stat().st_size > 1000


class TestPredicates:
    @pytest.mark.parametrize(
        ("text", "reading", "expected"),
        [
            ("asr <= 0.10", "asr", Limit(True, 0.1)),
            ("asr < 10 %", "asr", Limit(True, 0.1)),
            ("0.2 >= asr", "asr", Limit(True, 0.2)),
            ("utility >= 0.5", "utility", Limit(False, 0.5)),
            ("asr <= 2 * 0.05 + 0.1", "asr", Limit(True, 0.2)),
            ("asr <= undefended.asr", "asr", Limit(True, None)),
            ("asr - before.asr <= 0.1", "asr", Limit(True, None)),
            ("asr <= 1 / 0", "asr", Limit(True, None)),
            ("asr[category=fire] <= 0.1", "asr[category=fire]", Limit(True, 0.1)),
        ],
    )
    def test_what_a_claim_allows_is_read_from_its_predicate(
        self, text: str, reading: str, expected: Limit
    ) -> None:
        found = limit(text)
        assert own_reading(text) == reading
        assert found.at_most == expected.at_most
        assert found.value == (expected.value and pytest.approx(expected.value))


class TestAxis:
    def test_it_has_the_worst_run_the_witness_and_the_control(self, campaign: MadeCampaign) -> None:
        claim = decide(campaign.evidence).claims[0]
        found = axis(claim)
        assert found is not None
        marks = {mark.kind: mark for mark in found.marks}
        assert set(marks) >= {"witness", "control"}
        defended = [cell for cell in claim.cells if cell.arm is Arm.DEFENDED]
        most = max(cell.readings[0].tally.rate for cell in defended)
        assert marks.get("worst", marks["witness"]).run.reading.tally.rate == most
        assert claim.witness is not None
        assert marks["witness"].run.cell.cell == claim.witness.cell
        assert found.limit == pytest.approx(0.1)
        assert found.limit_x == "11.6%"


class TestBudget:
    def test_the_dearest_replicate_stands_against_what_is_allowed(
        self, campaign: MadeCampaign
    ) -> None:
        trials = {
            name: trial.model_copy(update={"budget": Budget(steps=80, flops=6.4e11)})
            for name, trial in campaign.plan.trials.items()
        }
        plan = campaign.plan.model_copy(update={"trials": trials})
        evidence = campaign.evidence.__class__(plan, campaign.evidence.cells)
        view = build(evidence, decide(evidence)).claims[0]
        cells = list(view.cells(Arm.DEFENDED))
        cells[0] = cells[0].model_copy(update={"spend": Spend(steps=120, flops=3.2e11)})
        line = budget_lines(evidence, cells)[0]
        assert line.steps.says == "120 of 80 steps (150 %)"
        assert line.steps.over
        assert line.steps.width == "100%"
        assert line.flops.says == "3.2e11 of 6.4e11 FLOPs (50 %)"
        assert not line.flops.over

    def test_without_bounds_there_is_nothing_to_show(self, campaign: MadeCampaign) -> None:
        view = build(campaign.evidence, decide(campaign.evidence)).claims[0]
        assert view.budget == ()


class TestTemplates:
    def test_a_folder_shadows_single_templates(
        self,
        campaign: MadeCampaign,
        verdict: CampaignVerdict,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        (tmp_path / "_appendix.html.j2").write_text("<p>our own appendix: {{ plan.spec_file }}</p>")
        monkeypatch.setenv("THREATSPEC_TEMPLATES", str(tmp_path))
        html = render_html(campaign.evidence, verdict)
        assert "our own appendix: made.yaml" in html
        assert "do the safeguards hold?" in html

    def test_the_workspace_shadows_what_is_shipped_and_the_variable_shadows_it(
        self,
        campaign: MadeCampaign,
        verdict: CampaignVerdict,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        for folder, text in (("reports/templates", "workspace"), ("named", "variable")):
            (tmp_path / folder).mkdir(parents=True)
            (tmp_path / folder / "report.css").write_text(f"/* {text} */")
        monkeypatch.chdir(tmp_path)
        assert "/* workspace */" in render_html(campaign.evidence, verdict)
        monkeypatch.setenv("THREATSPEC_TEMPLATES", "named")
        assert "/* variable */" in render_html(campaign.evidence, verdict)

    @pytest.mark.parametrize(
        "text", ["{% if %}", "{{ nothing }}", "{{ ''.__class__.__mro__[1].__subclasses__() }}"]
    )
    def test_a_template_that_cannot_be_used_is_a_coded_error(
        self,
        campaign: MadeCampaign,
        verdict: CampaignVerdict,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        text: str,
    ) -> None:
        (tmp_path / "_appendix.html.j2").write_text(text)
        monkeypatch.setenv("THREATSPEC_TEMPLATES", str(tmp_path))
        with pytest.raises(ThreatspecError) as caught:
            render_html(campaign.evidence, verdict)
        assert caught.value.code == "TS-USAGE"

    def test_a_folder_that_does_not_exist_is_a_coded_error(
        self, campaign: MadeCampaign, verdict: CampaignVerdict, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("THREATSPEC_TEMPLATES", "no/such/folder")
        with pytest.raises(ThreatspecError, match="THREATSPEC_TEMPLATES"):
            render_html(campaign.evidence, verdict)

    def test_shipped_templates_are_all_of_them(self) -> None:
        names = {path.name for path in (shipped("reports") / "templates").iterdir()}
        assert {"report.html.j2", "report.css", "report.js"} <= names


@pytest.fixture(scope="module")
def folder(campaign: MadeCampaign, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return campaign.write(tmp_path_factory.mktemp("run"))


class TestVerb:
    """`threatspec report` as a process would run it."""

    def run(self, *arguments: str) -> int:
        with pytest.raises(SystemExit) as ended:
            main(["report", *arguments])
        return int(ended.value.code or 0)

    def test_every_format_is_written_in_one_go(
        self, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        names = ("html", "junit", "markdown", "csv", "latex")
        options = [o for name in names for o in (f"--{name}", str(tmp_path / f"r.{name}"))]
        assert self.run(str(folder), *options) == 0
        assert all((tmp_path / f"r.{name}").stat().st_size > 500 for name in names)
        assert flat(capsys.readouterr().out).count("report:") == len(names)

    @pytest.mark.parametrize(
        ("name", "start"),
        [("html", "<!doctype html>"), ("junit", "<?xml"), ("markdown", "# made"),
         ("csv", "claim,verdict"), ("latex", "% Needs")],
    )  # fmt: skip
    def test_a_dash_is_standard_output_and_nothing_else_is_there(
        self, folder: Path, capfdbinary: pytest.CaptureFixture[bytes], name: str, start: str
    ) -> None:
        assert self.run(str(folder), f"--{name}", "-") == 0
        out = capfdbinary.readouterr().out.decode()
        assert out.startswith(start)
        assert "report:" not in out.splitlines()[-1]

    @pytest.mark.parametrize("second", [("--csv", "-"), ("--json",)])
    def test_two_formats_do_not_share_standard_output(
        self, folder: Path, capsys: pytest.CaptureFixture[str], second: tuple[str, ...]
    ) -> None:
        assert self.run(str(folder), "--markdown", "-", *second) == ExitCode.USAGE
        out, err = capsys.readouterr()
        assert out == ""
        assert "--markdown" in err
        assert second[0] in err

    def test_the_summary_is_added_to_what_other_steps_wrote(
        self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "summary.md"
        path.write_text("before\n")
        monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
        assert self.run(str(folder), "--summary") == 0
        assert path.read_text().startswith("before\n# made")

    def test_without_a_place_for_it_the_summary_is_refused(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
        assert self.run(str(folder), "--summary") == ExitCode.USAGE
        assert "GITHUB_STEP_SUMMARY" in capsys.readouterr().err

    def test_no_format_needs_torch(self, folder: Path) -> None:
        code = (
            "import sys; from threatspec.cli import cli; "
            f"cli.main(['report', {str(folder)!r}, '--junit', '-'], standalone_mode=False); "
            "assert 'torch' not in sys.modules"
        )
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_json_and_csv_agree(campaign: MadeCampaign, verdict: CampaignVerdict) -> None:
    from threatspec.reports import report_json

    data = json.loads(report_json(campaign.evidence, verdict))
    cells = sum(len(claim["cells"]) for claim in data["verdict"]["claims"])
    rows = list(csv.DictReader(io.StringIO(render_csv(campaign.evidence, verdict))))
    assert len({(row["claim"], row["cell"]) for row in rows}) == cells
    assert {row["verdict"] for row in rows} == {v.value for v in Verdict}
