"""The report as one HTML file: no scripts, no network, readable on paper and in the dark.

Autoescaping is on, and every printed text goes through `visible` on its way out: model output is
hostile input.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from threatspec.claims import CampaignVerdict, Evidence
from threatspec.errors import ThreatspecError
from threatspec.reports import _words as words
from threatspec.reports._details import Details
from threatspec.reports._model import build
from threatspec.reports._visible import visible
from threatspec.resources import shipped

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["render_html"]


def render_html(
    evidence: Evidence, verdict: CampaignVerdict, details: Details | None = None
) -> str:
    """The whole report as one self-contained page."""
    report = build(evidence, verdict, details)
    return (
        _environment()
        .get_template("report.html.j2")
        .render(report=report, plan=evidence.plan, sources=_sources())
    )


@lru_cache(maxsize=1)
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    found = Environment(
        loader=FileSystemLoader(shipped("reports") / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.globals["words"] = words
    found.filters["prose"] = _prose
    return found


def _shown(value: Any) -> Any:
    """Make text visible; what a macro made is markup already and went through here before."""
    from markupsafe import Markup

    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _prose(text: str) -> Any:
    """A sentence in which what stands between backticks is code."""
    from markupsafe import Markup, escape

    parts = visible(text).split("`")
    if len(parts) % 2 == 0:
        return escape("`".join(parts))
    code = Markup("<code>{}</code>")
    return Markup("").join(code.format(p) if n % 2 else escape(p) for n, p in enumerate(parts))


def _sources() -> dict[str, str]:
    """Where the shipped attack cards come from, by name of the card.

    Records outlive cards: without them the report lacks their sources and nothing else.
    """
    from threatspec.loading import load_cards

    try:
        cards = load_cards(shipped("attacks"))
    except ThreatspecError:
        return {}
    return {
        name: f"{card.source.work}, {card.source.section} ({card.source.provenance})"
        for name, card in cards.items()
    }
