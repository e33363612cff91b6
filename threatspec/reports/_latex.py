"""LaTeX for a paper: a booktabs table, one line per claim. `\\input` it; it needs `booktabs`.

Every metacharacter is escaped, and so is what looks harmless and is not: a `[` or `*` after the end
of a line is an argument of it, `--` is a dash, and letters beyond Latin-1 stop pdflatex.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from threatspec.claims import CampaignVerdict, Evidence
from threatspec.records import Arm
from threatspec.reports._claims import ClaimView
from threatspec.reports._details import Details
from threatspec.reports._model import Report, build
from threatspec.reports._visible import escape, one_line
from threatspec.reports._words import bounds, units
from threatspec.reports._worst import worst

__all__ = ["latex_text", "render_latex"]

_PER_TABLE = 30
"""Lines that fit on one page."""
_ESCAPES = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "%": r"\%", "_": r"\_\allowbreak{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\char34{}",
    "`": r"\char96{}", "'": r"\char39{}", "[": "{[}", "*": "{*}", "-": "-{}",
}  # fmt: skip
_LATIN = frozenset(map(chr, range(0xC0, 0x100))) - set("ÐðÞþ×÷")
"""Letters that every LaTeX of the last years has in its default font encoding."""
_HEAD = ("claim", "verdict", "predicate", "worst run", "witness", "units")
_WIDTHS = ("0.21", "0.14", "0.13", "0.15", "0.18", "0.1")


def render_latex(
    evidence: Evidence, verdict: CampaignVerdict, details: Details | None = None
) -> str:
    """One table, or several where the claims do not fit on a page."""
    report = build(evidence, verdict, details)
    views = report.claims
    parts = [views[n : n + _PER_TABLE] for n in range(0, len(views), _PER_TABLE)] or [views]
    tables = (_table(report, part, n, len(parts)) for n, part in enumerate(parts, start=1))
    return "% Needs \\usepackage{booktabs}.\n" + "\n".join(tables)


def latex_text(text: str) -> str:
    """Text as it stands in a table's cell, whatever it holds."""
    return "".join(_character(c) for c in one_line(text))


def _character(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isascii() or character in _LATIN:
        return character
    return "".join(_ESCAPES.get(c, c) for c in escape(character))


def _table(report: Report, views: Sequence[ClaimView], number: int, parts: int) -> str:
    columns = " ".join(rf"p{{{width}\linewidth}}" for width in _WIDTHS)
    head = " & ".join(_HEAD)
    part = f" (part {number} of {parts})" if parts > 1 else ""
    body = "\n".join(f"{' & '.join(_row(view))} \\tabularnewline" for view in views)
    return (
        "\\begin{table*}\n\\centering\\footnotesize\\setlength{\\tabcolsep}{3pt}\n"
        f"\\caption{{{_caption(report)}{part}}}\n"
        f"\\begin{{tabular}}{{@{{}}{columns}@{{}}}}\n"
        f"\\toprule\n{head} \\tabularnewline\n\\midrule\n{body}\n\\bottomrule\n"
        "\\end{tabular}\n\\end{table*}\n"
    )


def _caption(report: Report) -> str:
    unfinished = "" if report.verdict.complete else " The campaign is not finished."
    shares = sorted({view.claim.confidence for view in report.claims})
    levels = ", ".join(f"{share * 100:g}" for share in shares)
    return (
        f"{latex_text(report.title)}: {latex_text(report.headline)}{unfinished} "
        rf"The worst run is the attacked cell that speaks most against a claim, as a share of the "
        rf"units read, with one-sided bounds at {levels}\,\%; refutations are corrected over all "
        "cells."
    )


def _row(view: ClaimView) -> Iterator[str]:
    claim = view.claim
    run = worst(view.cells(Arm.DEFENDED), claim.holds)
    yield rf"\raggedright {latex_text(claim.id)}"
    yield rf"\raggedright \textsc{{{claim.verdict.value.lower()}}}{_rules(view)}"
    yield rf"\raggedright {latex_text(claim.holds)}"
    yield _worst_cell(run.reading.tally.rate, bounds(run.reading)) if run else "none"
    yield rf"\raggedright {_witness(view)}"
    yield latex_text(units(run.reading)) if run else "none"


def _rules(view: ClaimView) -> str:
    """Rules that are waived, or that make the claim inadmissible."""
    waived = ", ".join(dict.fromkeys(one.rule for one in view.claim.waived))
    broken = ", ".join(dict.fromkeys(code for code, _ in view.insufficient))
    if waived:
        return f" {latex_text(f'with waivers ({waived})')}"
    return f" {latex_text(f'({broken})')}" if broken else ""


def _worst_cell(rate: float, interval: str) -> str:
    return rf"\raggedright {rate:.3f} {latex_text(interval)}"


def _witness(view: ClaimView) -> str:
    witness = view.claim.witness
    return latex_text(f"{witness.procedure}, replicate {witness.replicate}") if witness else "none"
