"""Plots of instruments in a real browser: nothing is cut off, and lines can be told apart."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from tests.unit import test_reports as made
from threatspec.claims import decide
from threatspec.records import (
    Arm,
    Curve,
    InstrumentReading,
    Panel,
    PlannedInstrument,
    TrialResult,
    TrialStatus,
)
from threatspec.reports import render_html

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.browser

LINES = 8
OUTSIDE = """() => [...document.querySelectorAll('#instruments text, #instruments circle')]
  .map(e => [e.getBoundingClientRect(), e.textContent])
  .filter(([box]) => box.left < 0 || box.right > document.documentElement.clientWidth)
  .map(([, text]) => text)"""
STROKES = """() => [...document.querySelectorAll('#instruments .key path')].map(e => {
  const style = getComputedStyle(e);
  return [style.stroke, style.strokeDasharray];
})"""
CONTRAST = """() => {
  const light = c => c.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255)
    .map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const paper = light(getComputedStyle(document.body).backgroundColor);
  return [...document.querySelectorAll('#instruments .key path')].map(e => {
    const own = light(getComputedStyle(e).stroke);
    return (Math.max(own, paper) + .05) / (Math.min(own, paper) + .05);
  });
}"""


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight lines with bands, from 1 to 1,000, and a reading that failed with hostile words."""
    evidence = made.a_campaign().evidence
    panel = Panel(key="kl", title="Divergence", x="position (tokens)", y="divergence (nats)")
    readings = tuple(
        InstrumentReading(subject="subject", arm=Arm.DEFENDED, model=f"specimen:{n}", trial=f"t{n}")
        for n in range(LINES + 1)
    )
    planned = PlannedInstrument(use="kl-profile", settings={}, panels=(panel,), readings=readings)
    results = {f"t{n}": _result(f"t{n}", 100.0 * (n + 1)) for n in range(LINES)}
    results[f"t{LINES}"] = TrialResult(
        trial=f"t{LINES}", status=TrialStatus.ERROR, code="TS-DATA", message=made.HOSTILE
    )
    plan = evidence.plan.model_copy(update={"instruments": {"kl": planned}})
    path = tmp_path_factory.mktemp("instruments") / "report.html"
    shown = replace(evidence, plan=plan, instruments=results)
    path.write_text(render_html(shown, decide(evidence)), encoding="utf-8")
    return path


def _result(trial: str, height: float) -> TrialResult:
    x = tuple(float(n) for n in range(1, 17))
    y = tuple(height / v for v in x)
    curve = Curve(
        name="kl", x=x, y=y, low=tuple(0.8 * v for v in y), high=tuple(1.2 * v for v in y)
    )
    return TrialResult(trial=trial, status=TrialStatus.DONE, curves=(curve,))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs Chromium on the PATH (Debian: apt-get install chromium)")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    with playwright.sync_playwright() as p:
        found = p.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1100])
def test_plots_are_whole_and_their_lines_differ(
    browser: Browser, page_file: Path, scheme: Literal["light", "dark"], width: int
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page.goto(page_file.as_uri())
    assert page.evaluate(OUTSIDE) == []
    strokes = [tuple(one) for one in page.evaluate(STROKES)]
    assert len(strokes) == len(set(strokes)) == LINES
    assert min(page.evaluate(CONTRAST)) > 3
    assert "could not be read" in page.locator("#instruments .notice").inner_text()
    page.close()
