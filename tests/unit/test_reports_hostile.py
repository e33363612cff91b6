"""Whatever stands in a free text or a reply, every format shows it and none obeys it."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token
from rich.console import Console

from tests.unit.test_reports import HOSTILE, a_campaign, a_claim, with_text_everywhere
from tests.unit.test_reports import MadeCampaign as Made
from threatspec.claims import CampaignVerdict, Evidence, decide
from threatspec.reports import (
    Details,
    Transcript,
    render_csv,
    render_html,
    render_junit,
    render_latex,
    render_markdown,
    render_terminal,
    visible,
)
from threatspec.reports._csv import COLUMNS
from threatspec.reports._latex import latex_text
from threatspec.reports._markdown import markdown_code, markdown_prose, markdown_text

PIECES = (
    "<script>alert(1)</script>", "</style>", "<!--", "]]>", "&lt;", "javascript:alert(1)",
    "{{ 7 * 7 }}", "{% raw %}", "\x1b[31m", "\x1b]0;owned\x07", "\u202e", "\u2066", "\u200b",
    "\x00", "\ud800", "\ufffe", "|", "||", "\\|", "`", "``", "\\", "**", "_",
    "[a](http://x.example)", "![i](x)", "# ", "- ", "1. ", "> ", "~~", "$x$", "@user",
    "http://x.example", "www.x.example", "a@b.example", "\n", "\r\n", "\t", "\n\n    code",
    "\n| a | b |\n", "=1+1", "+1", "-1", "@SUM(A1)", "\\input{x}", "\\end{tabular}", "$", "%",
    "#", "^", "~", "{", "}", "&", "--", "?`", "''", '"', ";", "漢字", "Grüße",
)  # fmt: skip
TEXTS = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=8)), max_size=6).map("".join)
FEW = settings(max_examples=40, deadline=None)


class Shown:
    """One claim of one campaign with a text in all of its free texts, and in a reply."""

    def __init__(self) -> None:
        self.campaign: Made = Made((a_claim("refuted"),))
        self.verdict = decide(self.campaign.evidence)

    def __call__(self, text: str) -> tuple[Evidence, CampaignVerdict, Details]:
        found = self.campaign.evidence
        goal = text.encode(errors="replace").decode()  # no file holds half a character
        adversary = {**found.plan.spec["adversaries"]["small-finetuner"], "goal": goal}
        spec = {"adversaries": {"small-finetuner": adversary}}
        plan = found.plan.model_copy(update={"spec": spec, "spec_file": text})
        cell = "cell-full-finetune-defended-0"
        reply = Transcript("refuted", "witness", cell, text, text, text, text, {text: text})
        verdict = with_text_everywhere(self.verdict, text).model_copy(update={"spec_file": text})
        return Evidence(plan, found.cells), verdict, Details((reply,))


SHOWN = Shown()
HARMLESS = "harmless"


def unprintable(text: str) -> list[str]:
    return [c for c in text if not c.isprintable() and c not in "\n\t"]


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.names: set[str] = set()
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        # sentences put code between their own backticks, so its number differs by design
        self.tags += [] if tag == "code" else [tag]
        self.names |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@FEW
@given(TEXTS)
def test_html(text: str) -> None:
    found = render_html(*SHOWN(text))
    page, harmless = Page(found), Page(render_html(*SHOWN(text and HARMLESS)))
    assert page.tags == harmless.tags
    assert page.names == harmless.names
    assert not unprintable(found)
    wanted = visible(text).replace("\r\n", "\n").replace("\r", "\n")
    assert wanted in "".join(page.texts)


@FEW
@given(TEXTS)
def test_terminal(text: str) -> None:
    out = io.StringIO()
    evidence, verdict, details = SHOWN(text)
    render_terminal(Console(file=out, width=100), evidence, verdict, details, full=True)
    assert not [c for c in out.getvalue() if not c.isprintable() and c != "\n"]


@FEW
@given(TEXTS)
def test_junit(text: str) -> None:
    evidence, verdict, details = SHOWN(text)
    found = render_junit(evidence, verdict, details)
    found.encode("utf-8")
    root = ElementTree.fromstring(found)
    harmless = ElementTree.fromstring(render_junit(*SHOWN(text and HARMLESS)))
    assert [e.tag for e in root.iter()] == [e.tag for e in harmless.iter()]
    assert not unprintable(found)


@FEW
@given(TEXTS)
def test_csv(text: str) -> None:
    evidence, verdict, details = SHOWN(text)
    found = render_csv(evidence, verdict, details)
    assert not unprintable(found)
    for row in csv.reader(io.StringIO(found)):
        assert len(row) == len(COLUMNS)
        for cell in row:
            assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))


# Markdown: what a renderer of it makes of the text


INERT = {"text", "code_inline", "text_special", "strong_open", "strong_close", "softbreak"}


def tokens(text: str) -> list[Token]:
    return MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)


def inline(found: list[Token]) -> Iterator[Token]:
    for token in found:
        yield from token.children or ()


def read(found: list[Token]) -> str:
    return "".join(token.content for token in inline(found))


@FEW
@given(TEXTS)
def test_markdown(text: str) -> None:
    evidence, verdict, details = SHOWN(text)
    source = render_markdown(evidence, verdict, details)
    found, harmless = tokens(source), tokens(render_markdown(*SHOWN(HARMLESS)))
    blocks, wanted = ([t.type for t in page] for page in (found, harmless))
    if text.split():  # an empty paragraph is none
        assert blocks == wanted
    assert {token.type for token in inline(found)} <= INERT
    assert not [c for c in source if not c.isprintable() and c != "\n"]


@settings(max_examples=300, deadline=None)
@given(TEXTS)
@example("@@SUM(A1)")
@pytest.mark.parametrize("shown", [markdown_text, markdown_code])
def test_markdown_text_reads_as_it_is(shown: Callable[[str], str], text: str) -> None:
    one = visible(" ".join(text.split()))
    for source in (f"word {shown(text)} word", f"- {shown(text)}x"):
        found = tokens(source)
        assert {token.type for token in inline(found)} <= INERT
        assert one in read(found)
    row = f"| a | b |\n| --- | --- |\n| {shown(text)} | b |\n"
    assert sum(token.type == "td_open" for token in tokens(row)) == 2


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_no_platform_finds_a_link_or_a_name_in_markdown(text: str) -> None:
    for shown in (markdown_text(text), markdown_prose(text)):
        outside = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", " ", shown)
        assert not re.search(r"(?i)https?://|www\.|ftp://|@\w|<[a-z!/]", outside)


# LaTeX


ATOMS = re.compile(
    r"(?:\\(?:textbackslash|textasciitilde|textasciicircum|textless|textgreater|textbar|char\d+)\{\}"
    r"|\\_\\allowbreak\{\}|\\[{}$&#%]|\{[\[*]\}|-\{\}"
    r"|[A-Za-z0-9 .,:;=+()/!?@\]]|[À-ÿ])*"
)


@settings(max_examples=500, deadline=None)
@given(TEXTS)
def test_latex_text_is_made_of_what_latex_prints(text: str) -> None:
    assert ATOMS.fullmatch(latex_text(text))


@FEW
@given(TEXTS)
def test_latex(text: str) -> None:
    evidence, verdict, details = SHOWN(text)
    found = render_latex(evidence, verdict, details)
    harmless = render_latex(*SHOWN(HARMLESS))
    assert len(found.splitlines()) == len(harmless.splitlines())
    for name in (r"\begin", r"\end", r"\tabularnewline", r"\input"):
        assert found.count(name) == harmless.count(name)


def test_a_hostile_reply_is_nowhere_but_in_html_and_json() -> None:
    campaign = a_campaign(reply=HOSTILE)
    evidence = campaign.evidence
    verdict = decide(evidence)
    for render in (render_junit, render_markdown, render_csv, render_latex):
        assert "owned" not in render(evidence, verdict)
