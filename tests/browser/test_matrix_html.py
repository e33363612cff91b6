"""The verdict matrix in a real browser: nothing sticks out, text can be read, in light and dark."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.test_report_html import CONTRAST, OVERFLOW, Opened, browser
from tests.support.specs import BASE, TUNER
from tests.unit import test_reports_matrix as made
from threatspec.claims import decide
from threatspec.reports import render_html, render_matrix

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.browser
__all__ = ["browser"]  # the fixture

LONG = {"use": "full-finetune", "lr": [1e-5, 3e-5, 1e-4, 3e-4, 1e-3], "steps": 30}
STICK_OUT = """() => [...document.querySelectorAll('.matrix :is(th, td, li)')]
  .filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.textContent.trim().slice(0, 60))"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The matrix alone and in a report: long names, and attacks on one subject."""
    folder = tmp_path_factory.mktemp("matrix")
    second = {**BASE["claims"][0], "id": "again", "against": "other", "for": "each",
              "subject": "weak"}  # fmt: skip
    other = {**TUNER, "attacks": [{"use": "full-finetune", "lr": 1e-4}, LONG],
             "compute": {"steps": 30, "configurations": 5}}  # fmt: skip
    seen = made.evidence(folder, **{"claims.1": second, "adversaries.other": other})
    verdict = decide(seen)
    found = {}
    for name, render in (("alone", render_matrix), ("report", render_html)):
        found[name] = folder / f"{name}.html"
        found[name].write_text(render(seen, verdict), encoding="utf-8")
    return found


@pytest.fixture(params=["light", "dark"])
def opened(
    request: pytest.FixtureRequest,
    browser: Browser,
    pages: dict[str, Path],
) -> Iterator[Opened]:
    page = browser.new_page(color_scheme=request.param, viewport={"width": 1280, "height": 900})
    yield Opened(page, pages["alone"])
    page.close()


def test_it_asks_for_nothing_and_complains_of_nothing(opened: Opened) -> None:
    assert opened.complaints == []
    assert opened.requests == [opened.url]


def test_every_text_can_be_read(opened: Opened) -> None:
    assert opened.page.evaluate(CONTRAST) == []


@pytest.mark.parametrize("width", [360, 900, 1600])
def test_names_stay_in_their_squares_and_the_page_in_its_window(opened: Opened, width: int) -> None:
    opened.page.set_viewport_size({"width": width, "height": 900})
    assert opened.page.evaluate(OVERFLOW) <= 0
    assert opened.page.evaluate(STICK_OUT) == []


def test_a_square_leads_to_its_claim(browser: Browser, pages: dict[str, Path]) -> None:
    page = browser.new_page()
    seen = Opened(page, pages["report"])
    link = page.locator(".matrix td a").last
    target = link.get_attribute("href")
    link.click()
    assert target is not None
    assert page.locator(target).count() == 1
    assert seen.complaints == []
    page.close()
