"""The report as one HTML file: no network, readable without its script, on paper, in the dark.

Autoescaping is on, and every printed text goes through `visible` on its way out: model output is
hostile input. The page's policy allows its own style sheet and script, by their hashes, and no
other.
"""

from __future__ import annotations

from threatspec.claims import CampaignVerdict, Evidence
from threatspec.reports._details import Details
from threatspec.reports._model import build
from threatspec.reports._templates import render

__all__ = ["render_html"]


def render_html(
    evidence: Evidence, verdict: CampaignVerdict, details: Details | None = None
) -> str:
    """The whole report as one self-contained page."""
    report = build(evidence, verdict, details)
    return render("report.html.j2", report=report, plan=evidence.plan)
