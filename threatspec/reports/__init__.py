"""Reports: renderers that show evidence and verdicts, and compute neither."""

from threatspec.reports._details import Details, Disagreement, Transcript, collect
from threatspec.reports._html import render_html
from threatspec.reports._json import report_data, report_json, verdict_json
from threatspec.reports._terminal import print_facts, render_terminal
from threatspec.reports._visible import one_line, visible
from threatspec.reports._words import counted
from threatspec.reports._words import duration as time_words
from threatspec.reports._words import spend as spend_words
from threatspec.reports._write import write_atomic

__all__ = [
    "Details",
    "Disagreement",
    "Transcript",
    "collect",
    "counted",
    "one_line",
    "print_facts",
    "render_html",
    "render_terminal",
    "report_data",
    "report_json",
    "spend_words",
    "time_words",
    "verdict_json",
    "visible",
    "write_atomic",
]
