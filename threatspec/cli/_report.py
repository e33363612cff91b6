"""`threatspec report`: the report of a results folder."""

from __future__ import annotations

from pathlib import Path

import click

from threatspec.cli._options import file_options, json_option, matrix_option, summary_option

__all__ = ["command"]


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@file_options
@matrix_option
@summary_option
@click.option(
    "--accept-waivers",
    is_flag=True,
    help="Let claims pass in JUnit that are supported with waivers.",
)
@json_option
def command(
    folder: Path, summary: bool, accept_waivers: bool, as_json: bool, **files: Path | None
) -> int:
    """Write the report of results FOLDER: to the terminal, as JSON, or to files.

    Ends with 0 whatever the verdicts are; `threatspec verdict` is for exit codes. With `-` for a
    FILE, that format is all there is on standard output.

    \b
    threatspec report runs/quickstart
    threatspec report runs/quickstart --html report.html --junit junit.xml
    threatspec report runs/quickstart --csv -
    threatspec report runs/zoo --matrix zoo.html
    """
    from threatspec.api import Outcome, evidence
    from threatspec.claims import decide
    from threatspec.cli._formats import summary_file
    from threatspec.cli._outcome import finish

    target = summary_file() if summary else None  # refused before anything is written
    found = evidence(folder)
    finish(
        Outcome(folder, found, decide(found)),
        html=files.pop("html"),
        as_json=as_json,
        exit_zero=True,
        accept_waivers=accept_waivers,
        full=True,
        files={name: path for name, path in files.items() if path},
        summary=target,
    )
    return 0
