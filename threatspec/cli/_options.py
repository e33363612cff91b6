"""Options that several verbs share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

__all__ = [
    "accept_waivers_option",
    "exhaustive_option",
    "exit_zero_option",
    "file_options",
    "html_option",
    "json_option",
    "limit_options",
    "matrix_option",
    "runner_option",
    "summary_option",
]

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

json_option: Decorator = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON for machines instead of text for people."
)


def _file_option(name: str, what: str) -> Decorator:
    path = click.Path(path_type=Path, dir_okay=False, allow_dash=True)
    return click.option(f"--{name}", type=path, help=what)


html_option: Decorator = _file_option(
    "html", "Also write the report as one self-contained HTML file; `-` is standard output."
)
_FORMATS = (
    ("junit", "Also write JUnit XML for CI, one test case per claim."),
    ("markdown", "Also write Markdown."),
    ("csv", "Also write CSV: one row per claim, attacked cell and measure."),
    ("latex", "Also write a LaTeX table (booktabs)."),
)
matrix_option: Decorator = _file_option(
    "matrix",
    "Also write the verdicts of attacks against subjects alone: as HTML, or as Markdown where FILE "
    "ends in .md.",
)
summary_option: Decorator = click.option(
    "--summary", is_flag=True, help="Append Markdown to the file named by GITHUB_STEP_SUMMARY."
)


def file_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Every format that is written to a file; HTML first, as it is listed."""
    for name, what in reversed(_FORMATS):
        command = _file_option(name, what)(command)
    return html_option(command)


def _profile_names(context: click.Context, _: click.Parameter, start: str) -> list[Any]:
    from threatspec.cli._kinds import profiles

    return [name for name in profiles(Path.cwd()) if name.startswith(start)]


runner_option: Decorator = click.option(
    "--runner",
    shell_complete=_profile_names,
    help="Name of a runner profile (runners/NAME.yaml) or path of one [default: local].",
)
_max_hours: Decorator = click.option(
    "--max-hours",
    type=click.FloatRange(min=0),
    help="Start no trial once workers have worked so many hours, earlier runs included.",
)
_max_usd: Decorator = click.option(
    "--max-usd",
    type=click.FloatRange(min=0),
    help="Start no trial once so much is spent, at the profile's price_per_hour.",
)


def limit_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What a run may spend."""
    return _max_hours(_max_usd(command))


exit_zero_option: Decorator = click.option(
    "--exit-zero", is_flag=True, help="End with 0 whatever the verdicts are (errors excepted)."
)
accept_waivers_option: Decorator = click.option(
    "--accept-waivers", is_flag=True, help="End with 0 where a claim is supported with waivers."
)
exhaustive_option: Decorator = click.option(
    "--exhaustive", is_flag=True, help="Read every prompt of every cell, also of settled ones."
)
