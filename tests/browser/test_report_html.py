"""The HTML report in a real browser: what a reader sees, and what the page asks the network for."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from tests.unit import test_reports as made
from tests.unit import test_reports_subjects as subjects
from tests.unit import test_timeline as timelines
from threatspec.claims import decide
from threatspec.records import Ledger
from threatspec.reports import collect, render_html

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
UNFOLD = """() => {
  document.querySelectorAll('details').forEach(d => { d.open = true; });
  document.querySelectorAll('.claim').forEach(c => { c.style.contentVisibility = 'visible'; });
}"""
CONTRAST = """() => {
  const parse = c => c.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const paper = element => {
    for (let e = element; e; e = e.parentElement) {
      const c = getComputedStyle(e).backgroundColor;
      const srgb = c.match(/^color\\(srgb ([\\d.]+) ([\\d.]+) ([\\d.]+)/);
      if (srgb) return srgb.slice(1).map(v => v * 255);
      if (!/^rgba\\(.*, 0\\)$/.test(c)) return parse(c);
    }
    return [255, 255, 255];
  };
  return [...document.querySelectorAll('body *')]
    .filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()))
    .filter(e => e.checkVisibility() && !e.closest('.skip, svg, script, style'))
    .map(e => {
      const [a, b] = [light(parse(getComputedStyle(e).color)), light(paper(e))];
      return [(Math.max(a, b) + .05) / (Math.min(a, b) + .05), e.textContent.slice(0, 40)];
    })
    .filter(([ratio]) => ratio < 4.5);
}"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report whose model output and sentences are hostile."""
    folder = tmp_path_factory.mktemp("report")
    campaign = made.a_campaign(reply=made.HOSTILE)
    verdict = made.five_verdicts(campaign)
    with Ledger.open(campaign.write(folder / "run")) as ledger:
        details = collect(ledger, verdict)
    path = folder / "report.html"
    path.write_text(render_html(campaign.evidence, verdict, details), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two supported claims, the first with a waiver; their cells were read until settled."""
    waiver = {"rule": "TS-R6", "owner": "the lab", "reason": "so far", "expires": "2999-01-01"}
    claims = made.a_claim("answered", waivers=[waiver]), made.a_claim("met")
    campaign = made.MadeCampaign(claims, looks=(8, 16, 40, 80, 120))
    verdict = made.decide(campaign.evidence)
    [censored, *others] = verdict.claims[0].costs
    open_end = censored.model_copy(update={"censored": True, "points": censored.points[:1]})
    changes = {
        "verdict": made.Verdict.SUPPORTED, "passed": True, "witness": None,
        "costs": (open_end, *others),
    }  # fmt: skip
    path = tmp_path_factory.mktemp("answered") / "report.html"
    supported = tuple(claim.model_copy(update=changes) for claim in verdict.claims)
    found = verdict.model_copy(update={"claims": supported})
    path.write_text(render_html(campaign.evidence, found), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs Chromium on the PATH (Debian: apt-get install chromium)")
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="needs playwright (pip install 'threatspec-claims[test]')"
    )
    with playwright.sync_playwright() as p:
        found = p.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield found
        found.close()


class Opened:
    """A page with everything it complained about or asked for."""

    def __init__(self, page: Page, path: Path) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        page.on("request", lambda request: self.requests.append(request.url))
        self.url = path.as_uri()
        page.goto(self.url, wait_until="load")


@pytest.fixture(params=["light", "dark"])
def opened(request: pytest.FixtureRequest, browser: Browser, report: Path) -> Iterator[Opened]:
    page = browser.new_page(color_scheme=request.param, viewport={"width": 1280, "height": 900})
    yield Opened(page, report)
    page.close()


def test_a_reader_sees_every_verdict_in_plain_words(opened: Opened) -> None:
    rows = opened.page.locator("table.verdicts tbody tr")
    assert rows.count() == 5
    for index, verdict in enumerate(made.Verdict):
        row = rows.nth(index)
        assert row.is_visible()
        assert row.locator(".badge").inner_text() == verdict.value
        assert f"after fine-tuning ({verdict.value.lower()})" in row.locator("th").inner_text()
        assert f"Scope: The scope of {verdict.value.lower()}." in row.inner_text()
        heading = opened.page.locator(f"#claim-{verdict.value.lower()} h2")
        assert heading.is_visible()


def test_the_witness_stands_only_where_a_claim_is_refuted(opened: Opened) -> None:
    assert opened.page.locator(".witness").count() == 1
    witness = opened.page.locator("#claim-refuted .witness")
    opened.page.evaluate(UNFOLD)  # what is far away is not rendered
    assert witness.is_visible()
    assert "of 120 prompts" in witness.inner_text()
    assert "100 optimiser steps, 320 billion floating-point operations" in witness.inner_text()


def test_hostile_output_is_shown_as_text_and_does_nothing(opened: Opened) -> None:
    opened.page.locator("#claim-refuted details.asked > summary").click()
    reply = opened.page.locator("#claim-refuted pre.hostile", has_text="<script>").first
    assert reply.is_visible()
    assert "\\x1b[2J" in reply.inner_text()
    assert opened.page.locator("img, iframe, form, link").count() == 0
    assert opened.page.locator("script").count() == 1
    assert opened.complaints == []


def test_the_page_needs_no_network(opened: Opened) -> None:
    assert opened.requests == [opened.url]


@pytest.mark.parametrize("width", [1280, 768, 390])
def test_nothing_overflows_sideways(opened: Opened, width: int) -> None:
    opened.page.set_viewport_size({"width": width, "height": 900})
    opened.page.evaluate(UNFOLD)
    assert opened.page.evaluate(OVERFLOW) <= 0


def test_text_stands_out_from_what_is_behind_it(opened: Opened) -> None:
    opened.page.evaluate(UNFOLD)
    assert opened.page.evaluate(CONTRAST) == []


def test_links_lead_to_the_claims(opened: Opened) -> None:
    opened.page.locator("table.verdicts a").nth(1).click()
    assert opened.page.url.endswith("#claim-refuted")
    assert opened.page.locator("#claim-refuted h2").is_visible()


# Filter, sort, keyboard


def shown(page: Page, table: str = "table.verdicts") -> list[str]:
    rows = page.locator(f"{table} tbody tr:visible")
    return [row.split("\t")[0] for row in rows.all_inner_texts()]


def badges(page: Page) -> list[str]:
    return page.locator("table.verdicts tbody tr:visible .badge").all_inner_texts()


def test_the_verdicts_are_filtered_by_text_and_by_choice(opened: Opened) -> None:
    page = opened.page
    tools = page.get_by_role("group", name="Filter: claims")
    tools.get_by_label("Find claims").fill("(REFUTED)")
    assert badges(page) == ["REFUTED"]
    assert tools.get_by_role("status").inner_text() == "1 of 5 claims"
    tools.get_by_label("Find claims").fill("")
    tools.get_by_label("As expected?").select_option("as expected")
    assert badges(page) == ["SUPPORTED", "REFUTED"]
    tools.get_by_label("Verdict").select_option("VACUOUS")
    assert badges(page) == []
    assert opened.complaints == []


def test_a_column_is_sorted_by_keyboard_and_says_so(opened: Opened) -> None:
    page = opened.page
    head = page.get_by_role("columnheader", name="Verdict")
    head.get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    assert badges(page) == sorted(badges(page))
    page.keyboard.press("Space")
    assert head.get_attribute("aria-sort") == "descending"
    assert badges(page) == sorted(badges(page), reverse=True)
    sorts = page.locator("table.verdicts th[aria-sort]:not([aria-sort=none])")
    assert sorts.count() == 1


def test_a_table_of_cells_is_equipped_when_it_is_opened(opened: Opened) -> None:
    page = opened.page
    claim = page.locator("#claim-refuted")
    summary = claim.locator("summary", has_text="Every cell on the subject")
    table = claim.locator("table.cells").first
    assert table.locator("button").count() == 0
    summary.focus()
    page.keyboard.press("Enter")
    table.get_by_role("button", name="asr").wait_for()
    table.get_by_role("button", name="asr").click()
    cells = table.locator("tbody tr td:nth-child(3)").all_inner_texts()
    shares = [float(text.split(" %")[0]) for text in cells]
    assert shares == sorted(shares)
    claim.get_by_label("reads as").first.select_option("breaks, witness")
    assert table.locator("tbody tr:visible").count() == 1


def test_every_control_is_reached_by_tab(opened: Opened) -> None:
    page = opened.page
    reached = []
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.tagName"))
    assert reached[:8] == ["A", "INPUT", "SELECT", "SELECT", *["BUTTON"] * 4]
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"


def test_without_its_script_everything_is_there(browser: Browser, report: Path) -> None:
    page = browser.new_page(java_script_enabled=False)
    page.goto(report.as_uri())
    assert len(shown(page)) == 5
    assert page.locator("input, select, button").count() == 0
    page.locator("#claim-refuted summary", has_text="Every cell on the subject").click()
    assert page.locator("#claim-refuted table.cells tbody tr").first.is_visible()
    page.close()


def test_the_witness_is_marked_on_the_map_and_on_the_axis(opened: Opened) -> None:
    claim = opened.page.locator("#claim-refuted")
    opened.page.evaluate(UNFOLD)
    assert claim.locator("table.heat .mark").all_inner_texts() == ["witness"]
    axis = claim.get_by_role("img", name="asr, claimed: at most 10 %")
    assert axis.locator(".at-witness circle").count() == 1
    mark, limit = (axis.locator(part).bounding_box() for part in (".at-witness circle", ".limit"))
    assert mark is not None
    assert limit is not None
    assert mark["x"] > limit["x"]  # it breaks "at most"


# Rules, waivers and costs


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_waived_support_looks_different_and_nothing_overflows(
    browser: Browser, answered: Path, scheme: Literal["light", "dark"], width: int
) -> None:
    page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 900})
    page.goto(answered.as_uri())
    page.evaluate(UNFOLD)
    line = page.locator(".answer .waivers")
    assert line.inner_text() == "with waivers: TS-R6 by the lab until 2999-01-01"
    badge, other = (page.locator(".answer .badge").nth(n) for n in (0, 1))
    below, above = line.bounding_box(), badge.bounding_box()
    assert below is not None
    assert above is not None
    assert below["y"] >= above["y"] + above["height"]
    paper = "e => getComputedStyle(e).backgroundColor"
    assert badge.evaluate(paper) == page.locator("body").evaluate(paper)
    assert badge.evaluate(paper) != other.evaluate(paper)
    assert page.evaluate(OVERFLOW) <= 0
    assert page.evaluate(CONTRAST) == []
    page.close()


def test_a_waived_support_is_a_choice_of_its_own(browser: Browser, answered: Path) -> None:
    page = browser.new_page()
    page.goto(answered.as_uri())
    tools = page.get_by_role("group", name="Filter: claims")
    tools.get_by_label("Verdict").select_option("SUPPORTED with waivers")
    [row] = shown(page)
    assert "(answered)" in row
    page.close()


@pytest.mark.parametrize("width", [1280, 390])
def test_costs_are_drawn_from_left_to_right_with_a_cross_or_an_open_end(
    browser: Browser, answered: Path, width: int
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.goto(answered.as_uri())
    page.evaluate(UNFOLD)
    chart = page.get_by_role("img", name="Cost to break: highest share of asr so far").first
    assert chart.is_visible()
    frame = chart.bounding_box()
    arrow, *crosses = (
        chart.locator(f".{arm} path").bounding_box()
        for arm in ("defended", "control", "undefended")
    )
    assert frame is not None
    assert arrow is not None
    assert chart.locator(".defended .open").count() == 1
    assert chart.locator(".control .broken, .undefended .broken").count() == 2
    control, undefended = (box for box in crosses if box is not None)
    assert undefended["x"] == control["x"] < arrow["x"]  # broken at no cost, and not at all
    assert control["y"] < arrow["y"]  # a broken control stands higher than a subject that held
    assert frame["x"] + frame["width"] <= width
    limit = chart.locator(".limit").bounding_box()
    assert limit is not None
    assert control["y"] < limit["y"] < arrow["y"] + arrow["height"]
    rules = page.locator("table.rules").first
    assert rules.get_by_role("rowheader", name="TS-R6 utility before and after").is_visible()
    page.close()


# On paper, and for whoever does not see it


def test_paper_shows_tables_and_keeps_transcripts_that_nobody_asked_for(
    browser: Browser, report: Path
) -> None:
    page = browser.new_page(viewport={"width": 720, "height": 1000})
    page.goto(report.as_uri())
    page.emulate_media(media="print")
    assert page.locator("#claim-refuted table.cells").first.is_visible()
    assert not page.locator("#claim-refuted pre.hostile").first.is_visible()
    assert not page.locator(".tools").first.is_visible()
    assert page.evaluate(OVERFLOW) <= 0
    page.close()


FILLS = """() => [...document.querySelectorAll('.time .keys rect')]
  .map(r => [r.getAttribute('class'), getComputedStyle(r).fill.match(/\\d+/g).map(Number)])"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_lanes_of_workers_are_told_apart_and_fit_a_narrow_page(
    browser: Browser, tmp_path: Path, scheme: Literal["light", "dark"]
) -> None:
    campaign = made.a_campaign()
    path = tmp_path / "report.html"
    details = timelines.with_every_kind()
    path.write_text(render_html(campaign.evidence, made.five_verdicts(campaign), details))
    page = browser.new_page(color_scheme=scheme, viewport={"width": 390, "height": 900})
    opened = Opened(page, path)
    page.evaluate(UNFOLD)
    assert page.evaluate(OVERFLOW) <= 0
    fills = dict(page.evaluate(FILLS))
    assert len({tuple(colour) for colour in fills.values()}) == len(fills) == 9
    idle = fills.pop("idle")
    assert {kind for kind, colour in fills.items() if contrast(colour, idle) < 3} == set()
    lane = page.get_by_role("img", name="worker-1: ")
    box = lane.bounding_box()
    assert box
    assert box["width"] > 200
    train = lane.locator(".train").bounding_box()
    assert train
    assert train["width"] / box["width"] == pytest.approx(0.3, abs=0.02)  # 3 s of 10 s
    assert opened.complaints == []
    page.close()


def contrast(one: list[int], other: list[int]) -> float:
    """Of two colours, as WCAG has it."""
    shades = ([c / 255 for c in colour] for colour in (one, other))
    linear = (
        [v / 12.92 if v <= 0.03928 else ((v + 0.055) / 1.055) ** 2.4 for v in s] for s in shades
    )
    low, high = sorted(0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b in linear)
    return (high + 0.05) / (low + 0.05)


HEADINGS = "[...document.querySelectorAll('h1, h2, h3')].map(h => Number(h.tagName[1]))"


def test_headings_descend_one_by_one(opened: Opened) -> None:
    levels = opened.page.evaluate(HEADINGS)
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))


def test_a_checker_of_accessibility_finds_nothing_serious(opened: Opened) -> None:
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright",
        reason="needs axe-playwright-python (pip install 'threatspec-claims[test]')",
    )
    opened.page.evaluate(UNFOLD)
    found = axe.Axe().run(opened.page).response
    serious = [v for v in found["violations"] if v["impact"] in {"serious", "critical"}]
    assert len(found["passes"]) > 20
    assert [(v["id"], v["nodes"][0]["html"], len(v["nodes"])) for v in serious] == []


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One claim about three subjects, by category."""
    folder = tmp_path_factory.mktemp("several")
    seen = subjects.evidence(folder)
    path = folder / "report.html"
    path.write_text(render_html(seen, decide(seen)), encoding="utf-8")
    return path


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_subjects_side_by_side_can_be_read(
    browser: Browser, several: Path, scheme: Literal["light", "dark"], width: int
) -> None:
    page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 900})
    opened = Opened(page, several)
    assert page.evaluate(CONTRAST) == []
    assert page.evaluate(OVERFLOW) <= 0
    tables = page.locator("#subjects").get_by_role("region")
    assert tables.count() == 2
    for index in range(2):
        table = tables.nth(index).get_by_role("table")
        assert table.get_by_role("rowheader").all_inner_texts() == ["bare", "weak", "kept"]
        heads = table.get_by_role("columnheader")
        assert heads.count() == 3 + len(subjects.CATEGORIES)
    page.get_by_role("link", name="kept", exact=True).first.click()
    assert page.url.endswith("#claim-holds-kept")
    assert opened.complaints == []
    page.close()
