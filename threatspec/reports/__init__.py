"""Reports: renderers that show evidence and verdicts, and compute neither."""

from threatspec.reports._compare import compare, comparison_json, render_comparison
from threatspec.reports._csv import render_csv
from threatspec.reports._details import Details, Disagreement, Transcript, collect
from threatspec.reports._html import render_html, render_matrix
from threatspec.reports._json import report_data, report_json, verdict_json
from threatspec.reports._junit import render_junit
from threatspec.reports._latex import render_latex
from threatspec.reports._markdown import render_markdown, render_matrix_markdown
from threatspec.reports._terminal import print_facts, render_terminal
from threatspec.reports._visible import one_line, visible
from threatspec.reports._warnings import trials_behind
from threatspec.reports._words import MEANINGS, counted
from threatspec.reports._words import capability as capability_words
from threatspec.reports._words import duration as time_words
from threatspec.reports._words import spend as spend_words
from threatspec.reports._write import write_atomic

__all__ = [
    "MEANINGS",
    "Details",
    "Disagreement",
    "Transcript",
    "capability_words",
    "collect",
    "compare",
    "comparison_json",
    "counted",
    "one_line",
    "print_facts",
    "render_comparison",
    "render_csv",
    "render_html",
    "render_junit",
    "render_latex",
    "render_markdown",
    "render_matrix",
    "render_matrix_markdown",
    "render_terminal",
    "report_data",
    "report_json",
    "spend_words",
    "time_words",
    "trials_behind",
    "verdict_json",
    "visible",
    "write_atomic",
]
