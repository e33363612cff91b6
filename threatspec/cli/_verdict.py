"""`threatspec verdict`: the answers, from records alone."""

from __future__ import annotations

from pathlib import Path

import click

from threatspec.cli._options import accept_waivers_option, exit_zero_option, json_option

__all__ = ["command"]


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@json_option
@accept_waivers_option
@exit_zero_option
def command(folder: Path, as_json: bool, accept_waivers: bool, exit_zero: bool) -> int:
    """Answer the claims of results FOLDER again, from its records alone.

    \b
    threatspec verdict runs/quickstart
    threatspec verdict runs/quickstart --json
    """
    from threatspec.api import Outcome, evidence
    from threatspec.claims import decide
    from threatspec.cli._outcome import finish

    found = evidence(folder)
    outcome = Outcome(folder, found, decide(found))
    return finish(
        outcome, html=None, as_json=as_json, exit_zero=exit_zero, accept_waivers=accept_waivers
    )
