"""The HTML report in a real browser: what a reader sees, and what the page asks the network for."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from threatspec.records import Ledger
from threatspec.reports import collect, render_html

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
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
    .filter(e => e.checkVisibility() && !e.closest('.skip, svg'))
    .map(e => {
      const [a, b] = [light(parse(getComputedStyle(e).color)), light(paper(e))];
      return [(Math.max(a, b) + .05) / (Math.min(a, b) + .05), e.textContent.slice(0, 40)];
    })
    .filter(([ratio]) => ratio < 4.5);
}"""


def _made() -> ModuleType:
    """The campaign that the unit tests make up; test folders are no packages."""
    path = Path(__file__).parents[1] / "unit" / "test_reports.py"
    spec = importlib.util.spec_from_file_location("made_reports", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["made_reports"] = module  # its dataclasses and models look themselves up here
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def made() -> ModuleType:
    return _made()


@pytest.fixture(scope="module")
def report(made: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
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


def test_a_reader_sees_every_verdict_in_plain_words(opened: Opened, made: Any) -> None:
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
    assert witness.is_visible()
    assert "of 120 prompts" in witness.inner_text()
    assert "100 optimiser steps, 320 billion floating-point operations" in witness.inner_text()


def test_hostile_output_is_shown_as_text_and_does_nothing(opened: Opened) -> None:
    reply = opened.page.locator("details[open] pre.hostile", has_text="<script>").first
    assert "\\x1b[2J" in reply.inner_text()
    assert opened.page.locator("script, img, iframe").count() == 0
    assert opened.complaints == []


def test_the_page_needs_no_network(opened: Opened) -> None:
    assert opened.requests == [opened.url]


@pytest.mark.parametrize("width", [1280, 768, 390])
def test_nothing_overflows_sideways(opened: Opened, width: int) -> None:
    opened.page.set_viewport_size({"width": width, "height": 900})
    for details in opened.page.locator("details").all():
        details.evaluate("d => d.open = true")
    assert opened.page.evaluate(OVERFLOW) <= 0


def test_text_stands_out_from_what_is_behind_it(opened: Opened) -> None:
    assert opened.page.evaluate(CONTRAST) == []


def test_links_lead_to_the_claims(opened: Opened) -> None:
    opened.page.locator("table.verdicts a").nth(1).click()
    assert opened.page.url.endswith("#claim-refuted")
    assert opened.page.locator("#claim-refuted h2").is_visible()
