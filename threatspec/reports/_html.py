"""The report as one HTML file: no network, readable without its script, on paper, in the dark.

Autoescaping is on, and every printed text goes through `visible` on its way out: model output is
hostile input. The page's policy allows its own style sheet and script, by their hashes, and no
other.
"""

from __future__ import annotations

from threatspec.claims import CampaignVerdict, Evidence
from threatspec.reports._details import Details
from threatspec.reports._matrix import required
from threatspec.reports._model import build
from threatspec.reports._templates import render

__all__ = ["render_html", "render_matrix"]


def render_html(
    evidence: Evidence, verdict: CampaignVerdict, details: Details | None = None
) -> str:
    """The whole report as one self-contained page."""
    report = build(evidence, verdict, details)
    return render("report.html.j2", report=report, plan=evidence.plan)


def render_matrix(evidence: Evidence, verdict: CampaignVerdict) -> str:
    """The verdict matrices alone, as a page that holds no transcripts and no single cells.

    Raises TS-USAGE if no claim makes one.
    """
    report = build(evidence, verdict)
    required(report.matrices)
    return render("matrix.html.j2", report=report, plan=evidence.plan)
