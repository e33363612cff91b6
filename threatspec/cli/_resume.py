"""`threatspec resume`: go on with an interrupted campaign."""

from __future__ import annotations

from pathlib import Path

import click

from threatspec.cli._options import (
    accept_waivers_option,
    exit_zero_option,
    html_option,
    json_option,
    limit_options,
    runner_option,
)

__all__ = ["command"]


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@runner_option
@limit_options
@html_option
@json_option
@accept_waivers_option
@exit_zero_option
def command(
    folder: Path,
    runner: str | None,
    max_hours: float | None,
    max_usd: float | None,
    html: Path | None,
    as_json: bool,
    accept_waivers: bool,
    exit_zero: bool,
) -> int:
    """Go on with the campaign in results FOLDER; nothing that has a result runs again.

    \b
    threatspec resume runs/quickstart
    """
    from threatspec.api import resume
    from threatspec.cli._formats import require_one_output
    from threatspec.cli._outcome import finish
    from threatspec.cli._progress import observer
    from threatspec.cli._settings import settings
    from threatspec.runners import SpendLimit

    require_one_output({"html": html} if html else {}, as_json)
    outcome = resume(
        folder,
        runner=settings(folder, runner=runner).runner,
        observer=observer(),
        limit=SpendLimit(hours=max_hours, usd=max_usd),
    )
    return finish(
        outcome, html=html, as_json=as_json, exit_zero=exit_zero, accept_waivers=accept_waivers
    )
