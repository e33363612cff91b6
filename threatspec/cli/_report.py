"""`threatspec report`: the report of a results folder."""

from __future__ import annotations

from pathlib import Path

import click

from threatspec.cli._options import html_option, json_option

__all__ = ["command"]


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@html_option
@json_option
def command(folder: Path, html: Path | None, as_json: bool) -> int:
    """Write the report of results FOLDER: to the terminal, as JSON, or as HTML.

    Ends with 0 whatever the verdicts are; `threatspec verdict` is for exit codes.

    \b
    threatspec report runs/quickstart
    threatspec report runs/quickstart --html report.html
    """
    from threatspec.api import Outcome, evidence
    from threatspec.claims import decide
    from threatspec.cli._outcome import finish

    found = evidence(folder)
    finish(
        Outcome(folder, found, decide(found)), html=html, as_json=as_json, exit_zero=True, full=True
    )
    return 0
