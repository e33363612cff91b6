"""Images in the report, in a real browser: seen, described, within the page, none fetched."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from tests.browser.test_report_html import CONTRAST, OVERFLOW, UNFOLD
from tests.unit import test_pictures as pictures
from tests.unit import test_reports as made
from threatspec.records import Ledger
from threatspec.reports import collect, render_html

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of a campaign that has shown images, whose replies are hostile."""
    folder = tmp_path_factory.mktemp("pictures")
    campaign = pictures.pictured(reply=made.HOSTILE)
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
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    with playwright.sync_playwright() as p:
        found = p.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_images_are_seen_described_and_stay_within_the_page(
    browser: Browser, page_file: Path, width: int, scheme: Literal["light", "dark"]
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 900})
    complaints: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("request", lambda r: asked.append(r.url) if not r.url.startswith("data:") else None)
    page.goto(page_file.as_uri())
    page.evaluate(UNFOLD)
    images = page.locator("#claim-refuted .shown img")
    assert images.count() >= 8
    for image in images.all()[:8]:
        assert image.evaluate("i => i.complete && i.naturalWidth > 0")
        assert image.evaluate("i => getComputedStyle(i).imageRendering") == "pixelated"
        assert len(image.get_attribute("alt") or "") > 10
    clean, change = (images.nth(n).bounding_box() for n in (0, 1))
    assert clean is not None
    assert change is not None
    assert (clean["width"], clean["height"]) == (change["width"], change["height"])
    assert page.evaluate(OVERFLOW) <= 0
    assert page.evaluate(CONTRAST) == []
    found = Axe().run(page, context="#claim-refuted").response["violations"]
    assert [one["id"] for one in found] == []
    assert complaints == []
    assert asked == [page_file.as_uri()]
    page.close()


def test_a_hostile_reply_below_an_image_stays_text(browser: Browser, page_file: Path) -> None:
    page = browser.new_page()
    page.goto(page_file.as_uri())
    page.evaluate(UNFOLD)
    reply = page.locator("#claim-refuted .shown code.hostile").first
    assert "<script>alert(1)</script>" in reply.inner_text()
    assert page.locator("script").count() == 1
    assert all(
        (image.get_attribute("src") or "").startswith("data:image/png;base64,")
        for image in page.locator("img").all()
    )
    page.close()
