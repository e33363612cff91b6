"""What a verdict rests on besides cells: rules, waivers, flags, other seeds, costs, how far cells
were read. Every format says it, and none says more than the verdict does."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.support.answers import evidence_of
from tests.support.specs import plan_of, scoped
from tests.unit.test_reports import MadeCampaign, Page, a_claim, flat, on_terminal
from threatspec import api
from threatspec.claims import (
    CampaignVerdict,
    ClaimVerdict,
    CostCurve,
    CostPoint,
    FlagEffect,
    FlagReading,
    RuleKind,
    RuleReading,
    SeriesReading,
    Truth,
    decide,
)
from threatspec.cli._outcome import finish
from threatspec.errors import ExitCode
from threatspec.records import UNTOUCHED, Arm
from threatspec.reports import (
    render_csv,
    render_html,
    render_junit,
    render_latex,
    render_markdown,
    report_json,
)
from threatspec.reports._cost import cost
from threatspec.reports._slices import slice_lines
from threatspec.schema import Verdict

WAIVER = {
    "rule": "TS-R6", "owner": "the lab", "reason": "one benchmark is ready", "expires": "2999-01-01"
}  # fmt: skip
WAIVED = "TS-R6 by the lab until 2999-01-01"


def rule(code: str, says: str, answer: str = "open", by: str = "") -> RuleReading:
    return RuleReading.model_validate(
        {"rule": code, "kind": RuleKind.SUFFICIENCY, "says": says, "remedy": f"Meet {code}.",
         "answer": answer, "by": by}
    )  # fmt: skip


OPEN = (rule("TS-R1", "3 replicates of 5"), rule("TS-R2", "one back-end"))
SCOPED = rule("TS-R4", "one template", "scoped", "scope.templates: [native]")
BY_HAND = rule("TS-R6", "one benchmark", "waived", "the lab, until 2999-01-01: too few")
NOTE = FlagReading(flag="judges-disagree", effect=FlagEffect.NOTE, says="they differ on 30 of 60")
BLOCKS = FlagReading(flag="stronger-did-worse", effect=FlagEffect.BLOCKS, says="it is badly tuned")


@pytest.fixture(scope="module")
def campaign() -> MadeCampaign:
    return MadeCampaign((a_claim("claimed", waivers=[WAIVER]),))


@pytest.fixture(scope="module")
def found(campaign: MadeCampaign) -> CampaignVerdict:
    return decide(campaign.evidence)


def changed(found: CampaignVerdict, **changes: Any) -> CampaignVerdict:
    """The one claim with other fields."""
    claim = ClaimVerdict.model_validate(found.claims[0].model_copy(update=changes).model_dump())
    return found.model_copy(update={"claims": (claim,)})


@pytest.fixture(scope="module")
def refused(found: CampaignVerdict) -> CampaignVerdict:
    """Inadmissible by two rules; others are answered."""
    return changed(
        found,
        verdict=Verdict.INADMISSIBLE,
        passed=False,
        witness=None,
        reasons=tuple(f"{one.rule}: {one.says}" for one in OPEN),
        rules=(*OPEN, SCOPED, BY_HAND),
        flags=(NOTE, BLOCKS),
        seeds="3 of 3 seeds passed",
        turning="12 instead of 2 would have refuted it.",
        run=3,
        series=(SeriesReading(procedure="lora", stands=Truth.FALSE, says="lora: 1 of 3 passed"),),
    )


@pytest.fixture(scope="module")
def waived(found: CampaignVerdict) -> CampaignVerdict:
    """Supported in spite of one rule."""
    return changed(
        found, verdict=Verdict.SUPPORTED, passed=True, witness=None, reasons=("It holds.",),
        rules=(SCOPED, BY_HAND), flags=(),
    )  # fmt: skip


def labels(text: str) -> list[tuple[str, str]]:
    """Labels at the left edge, each with its paragraph."""
    lines = re.findall(r"(?m)^(\S+) {2,}(\S.*(?:\n {14}.*)*)", text)
    return [(label, flat(words)) for label, words in lines]


class TestTerminal:
    def test_every_open_rule_has_a_line_and_is_told_once(
        self, campaign: MadeCampaign, refused: CampaignVerdict
    ) -> None:
        shown = labels(on_terminal(campaign.evidence, refused))
        assert [pair for pair in shown if pair[0].startswith("TS-")] == [
            ("TS-R1", "3 replicates of 5"),
            ("TS-R2", "one back-end"),
        ]
        assert "because" not in dict(shown)

    def test_answered_rules_and_what_is_near_are_short_lines(
        self, campaign: MadeCampaign, refused: CampaignVerdict
    ) -> None:
        shown = dict(labels(on_terminal(campaign.evidence, refused)))
        assert shown["scoped"] == "TS-R4"
        assert shown["waived"] == "TS-R6 by the lab, until 2999-01-01: too few"
        assert shown["flag"] == "stronger-did-worse (blocks support): it is badly tuned"
        assert shown["seeds"] == "3 of 3 seeds passed"
        assert shown["near"] == "12 instead of 2 would have refuted it."
        assert shown["run"] == "this claim was run 3 times in this place"

    def test_the_first_run_and_notes_are_not_worth_a_line(
        self, campaign: MadeCampaign, found: CampaignVerdict
    ) -> None:
        shown = dict(labels(on_terminal(campaign.evidence, changed(found, flags=(NOTE,)))))
        assert not {"run", "flag"} & shown.keys()

    def test_a_flag_that_is_the_reason_is_only_named(
        self, campaign: MadeCampaign, found: CampaignVerdict
    ) -> None:
        same = changed(found, flags=(BLOCKS,), reasons=(BLOCKS.says,), witness=None)
        shown = dict(labels(on_terminal(campaign.evidence, same)))
        assert (shown["because"], shown["flag"]) == (
            "it is badly tuned",
            "stronger-did-worse (blocks support)",
        )

    @pytest.mark.parametrize("width", [80, 120])
    def test_full_shows_rules_flags_series_and_costs(
        self, campaign: MadeCampaign, refused: CampaignVerdict, width: int
    ) -> None:
        text = on_terminal(campaign.evidence, refused, full=True, width=width)
        shown = flat(text)
        assert "TS-R1 five replicates: 3 replicates of 5; open" in shown
        assert "one template; scoped (scope.templates: [native])" in shown
        assert "one benchmark; waived by the lab, until 2999-01-01: too few" in shown
        assert "flag judges-disagree (note): they differ on 30 of 60" in shown
        assert "lora: 1 of 3 passed: did not withstand" in shown
        assert "cost to break: highest share of asr so far" in shown
        assert re.search(r"specimen:deep 0 0 % untouched 3\.2e11 [\d.]+ % full-finetune", shown)
        assert "specimen:deep: broken from 3.2e11 FLOPs" in shown
        assert max(map(len, text.splitlines())) <= width

    def test_a_waived_support_is_not_like_another(
        self, campaign: MadeCampaign, waived: CampaignVerdict
    ) -> None:
        shown = flat(on_terminal(campaign.evidence, waived))
        assert "SUPPORTED claimed as expected, but with waivers" in shown
        assert "expected SUPPORTED; waivers count if they are accepted" in shown
        assert "1 came out as expected, 1 of them only with waivers." in shown


class TestHtml:
    def test_sections_say_what_the_verdict_rests_on(
        self, campaign: MadeCampaign, refused: CampaignVerdict
    ) -> None:
        html = render_html(campaign.evidence, refused)
        text = Page(html).text
        for heading in ("Rules of admissibility", "Flags", "Other seeds", "Cost to break",
                        "What would have changed this verdict"):  # fmt: skip
            assert f"<h3>{heading}</h3>" in html
        for part in ("TS-R1 five replicates", "3 replicates of 5", "openMeet TS-R1.",
                     "scoped (scope.templates: [native])", "waived by the lab, until 2999-01-01",
                     "they differ on 30 of 60note", "it is badly tunedblocks support",
                     "3 of 3 seeds passed.", "lora: 1 of 3 passed: did not withstand",
                     "12 instead of 2 would have refuted it.",
                     "This claim was run 3 times in this place."):  # fmt: skip
            assert part in text, part

    def test_why_names_every_rule(self, campaign: MadeCampaign, refused: CampaignVerdict) -> None:
        wanted = "TS-R1: 3 replicates of 5; also TS-R2"
        assert render_html(campaign.evidence, refused).count(wanted) == 2
        assert f"| {wanted} |" in render_markdown(campaign.evidence, refused)
        assert wanted in render_junit(campaign.evidence, refused)

    def test_without_broken_rules_it_says_so(
        self, campaign: MadeCampaign, found: CampaignVerdict
    ) -> None:
        html = render_html(campaign.evidence, changed(found, rules=(), flags=(), seeds=""))
        assert "Every rule that applies to this claim is met." in html
        assert "<h3>Flags</h3>" not in html
        assert "<h3>Other seeds</h3>" not in html

    def test_a_waived_support_looks_different(
        self, campaign: MadeCampaign, found: CampaignVerdict, waived: CampaignVerdict
    ) -> None:
        html = render_html(campaign.evidence, waived)
        assert html.count(f"with waivers: {WAIVED}") == 2  # in the table and in its section
        assert 'class="badge SUPPORTED in-part"' in html
        met = changed(waived, rules=(SCOPED,))
        plain = render_html(campaign.evidence, met)
        assert "with waivers" not in plain
        assert "SUPPORTED in-part" not in plain

    def test_waivers_are_no_reason_for_other_verdicts(
        self, campaign: MadeCampaign, refused: CampaignVerdict
    ) -> None:
        assert "with waivers" not in render_html(campaign.evidence, refused)

    def test_the_chart_is_told_in_words_and_in_a_table(
        self, campaign: MadeCampaign, found: CampaignVerdict
    ) -> None:
        html = render_html(campaign.evidence, found)
        [chart] = re.findall(r'<figure class="cost">.*?</figure>', html, flags=re.DOTALL)
        [names] = re.findall(r'role="img" aria-labelledby="([^"]+)"', chart)
        assert all(f'id="{name}"' in chart for name in names.split())
        assert "<title" in chart
        assert "broken from 3.2e11 FLOPs" in Page(chart).text
        assert chart.count('class="broken"') == 3
        assert chart.count('class="open"') == 0
        assert "Cost to break in numbers" in html


class TestOthers:
    def test_markdown_has_rules_flags_and_costs(
        self, campaign: MadeCampaign, refused: CampaignVerdict
    ) -> None:
        whole, short = (
            render_markdown(campaign.evidence, refused, cells=cells) for cells in (True, False)
        )
        for text in (whole, short):
            assert "- **Open rule TS-R1:** 3 replicates of 5" in text
            assert "- **Flag:** stronger-did-worse (blocks support): it is badly tuned" in text
            assert "- **Seeds:** 3 of 3 seeds passed." in text
            assert "- **Runs:** This claim was run 3 times in this place." in text
        assert "| `TS-R4` | the template is the attacker's | one template | scoped" in whole
        assert "| specimen:deep | 3.2e11 |" in whole
        assert "### Cost to break" not in short

    def test_markdown_marks_waivers(self, campaign: MadeCampaign, waived: CampaignVerdict) -> None:
        text = render_markdown(campaign.evidence, waived)
        assert f"| **SUPPORTED** with waivers: {WAIVED} |" in text
        assert "stayed within the bound, but not every rule is met (TS-R6 waived)." in text

    def test_junit_fails_on_waivers_unless_they_are_accepted(
        self, campaign: MadeCampaign, waived: CampaignVerdict
    ) -> None:
        root = ElementTree.fromstring(render_junit(campaign.evidence, waived))
        [failure] = root.iter("failure")
        assert failure.get("type") == "waived"
        assert WAIVED in str(failure.get("message"))
        assert root[0].get("failures") == "1"
        assert properties(root)["exit-code"] == str(int(ExitCode.INCONCLUSIVE))
        accepted = ElementTree.fromstring(
            render_junit(campaign.evidence, waived, accept_waivers=True)
        )
        assert not list(accepted.iter("failure"))
        assert accepted[0].get("failures") == "0"
        assert properties(accepted)["exit-code"] == "0"

    @pytest.mark.parametrize(("accepted", "failures"), [(False, "1"), (True, "0")])
    def test_the_verb_hands_on_that_waivers_are_accepted(
        self, campaign: MadeCampaign, waived: CampaignVerdict, tmp_path: Path, accepted: bool,
        failures: str,
    ) -> None:  # fmt: skip
        path = tmp_path / "junit.xml"
        outcome = api.Outcome(tmp_path, campaign.evidence, waived)
        code = finish(
            outcome, html=None, as_json=False, exit_zero=False, accept_waivers=accepted,
            files={"junit": path},
        )  # fmt: skip
        assert code == (ExitCode.OK if accepted else ExitCode.INCONCLUSIVE)
        assert ElementTree.parse(path).getroot()[0].get("failures") == failures

    def test_waivers_do_not_excuse_another_verdict(
        self, campaign: MadeCampaign, refused: CampaignVerdict
    ) -> None:
        root = ElementTree.fromstring(render_junit(campaign.evidence, refused, accept_waivers=True))
        [failure] = root.iter("failure")
        assert failure.get("type") == "INADMISSIBLE"
        assert "TS-R2: one back-end" in str(failure.text)
        assert "flag stronger-did-worse" in str(failure.text)

    def test_junit_has_rules_flags_and_seeds_as_properties(
        self, campaign: MadeCampaign, refused: CampaignVerdict
    ) -> None:
        found = properties(ElementTree.fromstring(render_junit(campaign.evidence, refused)))
        assert found["rules claimed"] == "TS-R1 open; TS-R2 open; TS-R4 scoped; TS-R6 waived"
        assert found["flags claimed"] == "judges-disagree; stronger-did-worse"
        assert found["seeds claimed"] == "3 of 3 seeds passed"

    def test_csv_has_a_column_of_rules(
        self, campaign: MadeCampaign, refused: CampaignVerdict
    ) -> None:
        rows = list(csv.DictReader(io.StringIO(render_csv(campaign.evidence, refused))))
        assert {row["rules"] for row in rows} == {
            "TS-R1 open; TS-R2 open; TS-R4 scoped; TS-R6 waived"
        }

    def test_latex_names_the_rules_behind_a_verdict(
        self, campaign: MadeCampaign, refused: CampaignVerdict, waived: CampaignVerdict
    ) -> None:
        assert r"\textsc{inadmissible} (TS-{}R1, TS-{}R2)" in render_latex(
            campaign.evidence, refused
        )
        assert r"\textsc{supported} with waivers (TS-{}R6)" in render_latex(
            campaign.evidence, waived
        )

    def test_json_has_everything(self, campaign: MadeCampaign, refused: CampaignVerdict) -> None:
        [claim] = json.loads(report_json(campaign.evidence, refused))["verdict"]["claims"]
        assert [one["answer"] for one in claim["rules"]] == ["open", "open", "scoped", "waived"]
        assert [one["flag"] for one in claim["flags"]] == ["judges-disagree", "stronger-did-worse"]
        assert [one["arm"] for one in claim["costs"]] == ["defended", "control", "undefended"]
        assert claim["run"] == 3


def properties(root: ElementTree.Element) -> dict[str | None, str | None]:
    return {p.get("name"): p.get("value") for p in root.iter("property")}


@pytest.fixture(scope="module")
def short() -> MadeCampaign:
    return MadeCampaign((a_claim("claimed"),), looks=(8, 16, 40, 80, 120))


class TestReadUntilSettled:
    """A cell of which a part was read says how much, and no share is of what was not read."""

    def test_it_is_said_of_how_many_prompts(self, short: MadeCampaign) -> None:
        evidence = short.evidence
        verdict = decide(evidence)
        cells = [cell for cell in verdict.claims[0].cells if cell.arm is Arm.CONTROL]
        read = sum(cell.readings[0].tally.units for cell in cells)
        assert read < 120 * len(cells)
        wanted = f"Read until settled: {read} of {120 * len(cells)} prompts of asr"
        assert wanted in flat(on_terminal(evidence, verdict, full=True, width=200))
        assert wanted in Page(render_html(evidence, verdict)).text
        assert wanted in render_markdown(evidence, verdict)

    def test_shares_are_of_what_was_read(self, short: MadeCampaign) -> None:
        evidence = short.evidence
        verdict = decide(evidence)
        cell = next(c for c in verdict.claims[0].cells if c.arm is Arm.CONTROL)
        tally = cell.readings[0].tally
        assert f"{tally.yes} of {tally.units}" in on_terminal(evidence, verdict, full=True)
        assert f"</b>{tally.yes} of {tally.units}<i>breaks" in render_html(evidence, verdict)

    def test_slices_are_of_what_was_read(self, tmp_path: Path) -> None:
        plan = plan_of(tmp_path, scoped({"measures.asr.by": ["category"]}))
        evidence = evidence_of(plan, lambda _plan, _cell, measure, _: float(measure == "utility"))
        claim = decide(evidence).claims[0]
        lines = slice_lines(evidence, plan.claims[0], claim)
        units = {cell.cell: cell.readings[0].tally.units for cell in claim.cells}
        assert len(lines) > 1
        assert all(line.tally.units < units[line.run.cell] < 256 for line in lines)
        assert all(line.tally.unknown == 0 for line in lines)

    def test_nothing_is_said_where_everything_was_read(
        self, campaign: MadeCampaign, found: CampaignVerdict
    ) -> None:
        assert "until settled" not in on_terminal(campaign.evidence, found, full=True)


def curve(*points: tuple[float, float], broken: float | None, tried: float) -> CostCurve:
    return CostCurve(
        arm=Arm.DEFENDED,
        subject="specimen:deep",
        points=tuple(
            CostPoint(flops=flops, steps=int(flops > 0), rate=rate, replicate=number,
                      procedure=UNTOUCHED if number == 0 else "lora")
            for number, (flops, rate) in enumerate(points)
        ),
        broken_at=broken or 0.0,
        censored=broken is None,
        tried=tried,
    )  # fmt: skip


class TestCost:
    def drawn(self, found: CampaignVerdict, *curves: CostCurve, **claim: Any) -> Any:
        return cost(changed(found, costs=curves, **claim).claims[0], some=False)

    def test_a_curve_climbs_in_steps_to_where_it_breaks(self, found: CampaignVerdict) -> None:
        chart = self.drawn(
            found, curve((0, 0.0), (1e9, 0.05), (1e11, 0.9), broken=1e11, tried=1e12)
        )
        [trace] = chart.traces
        moves = re.findall(r"([MHV])([\d.]+)", trace.path)
        assert "".join(letter for letter, _ in moves) == "MHVHVH"
        zero, cheap, dear, last = (float(x) for letter, x in moves if letter in "MH")
        assert zero == 0  # what costs nothing has no logarithm
        # a hundredfold is twice as far as tenfold
        assert dear - cheap == pytest.approx(2 * (last - dear), abs=0.1)
        assert last <= 100
        low, high = (float(y) for letter, y in moves if letter == "V")
        assert high < low  # up is more
        assert trace.broken == (dear, high)
        assert trace.end == "broken from 1e11 FLOPs"

    def test_what_was_not_broken_ends_open(self, found: CampaignVerdict) -> None:
        chart = self.drawn(found, curve((0, 0.0), broken=None, tried=5e9))
        [trace] = chart.traces
        assert trace.censored
        assert trace.end == "not broken by what was tried, up to 5e9 FLOPs"
        assert trace.path == f"M0 {trace.last[1]:g}H{trace.last[0]:g}"

    @pytest.mark.parametrize("least", [1e3, 3.5e9, 7.7e12])
    @pytest.mark.parametrize("wide", [1.0, 1.5, 30.0, 1e4, 1e12])
    def test_the_scale_has_a_few_numbers_within_the_chart(
        self, found: CampaignVerdict, least: float, wide: float
    ) -> None:
        chart = self.drawn(found, curve((0, 0.0), (least, 0.5), broken=None, tried=least * wide))
        zero, *numbers = chart.costs
        assert zero == (0, "0")
        assert 1 <= len(numbers) <= 6
        places = [x for x, _ in numbers]
        assert places == sorted(places)
        assert 14 <= places[0] <= places[-1] <= 92
        assert len({text for _, text in numbers}) == len(numbers)

    def test_attacks_that_cost_nothing_are_no_chart(
        self, campaign: MadeCampaign, found: CampaignVerdict
    ) -> None:
        free = curve((0, 0.0), (0, 0.97), broken=0.0, tried=0.0)
        held = curve((0, 0.0), broken=None, tried=0.0)
        chart = self.drawn(found, free, held)
        assert not chart.drawn
        assert [end for _, _, end in chart.ends] == [
            "broken at no cost",
            "not broken by anything that was tried, none of which trained",
        ]
        assert [(line.by, line.rate) for line in chart.lines] == [
            ("untouched", "0 %"),
            ("lora, replicate 1", "97 %"),
            ("untouched", "0 %"),
        ]
        html = render_html(campaign.evidence, changed(found, costs=(free, held)))
        assert '<figure class="cost">' not in html
        assert "No attack of this claim spent compute" in html

    def test_of_equal_costs_only_the_best_is_listed(self, found: CampaignVerdict) -> None:
        chart = self.drawn(
            found, curve((0, 0.0), (1e9, 0.2), (1e9, 0.4), (2e9, 0.5), broken=None, tried=2e9)
        )
        assert [line.rate for line in chart.lines] == ["0 %", "40 %", "50 %"]

    def test_the_best_attack_is_the_lowest_share_where_a_claim_says_at_least(
        self, found: CampaignVerdict
    ) -> None:
        falling = curve((0, 0.95), (1e9, 0.3), broken=1e9, tried=1e9)
        chart = self.drawn(found, falling, holds="utility >= 0.5")
        assert chart.title.startswith("lowest share of utility")
        assert chart.claimed == "claimed: at least 50 %"
        some = cost(changed(found, costs=(falling,), holds="utility >= 0.5").claims[0], some=True)
        assert some is not None
        assert some.title.startswith("highest share of utility")

    def test_without_a_single_bound_there_is_none(
        self, campaign: MadeCampaign, found: CampaignVerdict
    ) -> None:
        assert self.drawn(found) is None
        assert "Cost to break" not in render_html(campaign.evidence, changed(found, costs=()))


def test_a_page_of_very_many_cells_leaves_out_details_of_the_control(
    campaign: MadeCampaign, found: CampaignVerdict, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "Every cell on the control" in render_html(campaign.evidence, found)
    monkeypatch.setattr("threatspec.reports._model._MOST_CELLS", 5)
    html = render_html(campaign.evidence, found)
    assert "Every cell on the control" not in html
    assert "Every cell on the subject" in html
    assert "they are too many for one page" in html


def test_the_headline_of_a_claim_that_fails_does_not_count_waivers(
    campaign: MadeCampaign, waived: CampaignVerdict
) -> None:
    out = on_terminal(campaign.evidence, changed(waived, passed=False, expected=Verdict.REFUTED))
    assert "0 came out as expected." in flat(out)
    assert "NOT as expected" in out
