"""`threatspec diff`: in what two campaigns differ."""

from __future__ import annotations

from pathlib import Path

import click

from threatspec.cli._options import json_option

__all__ = ["command"]


@click.command()
@click.argument("old", metavar="A", type=click.Path(path_type=Path))
@click.argument("new", metavar="B", type=click.Path(path_type=Path))
@json_option
def command(old: Path, new: Path, as_json: bool) -> int:
    """Show in what A and B differ; each is a claims file, a results folder or a bundle.

    Subjects, measures, adversaries and claims; where both have results, also verdicts, witnesses
    and counts. Ends with 0 if they are equal, with 1 if not.

    \b
    threatspec diff claims/before.yaml claims/after.yaml
    threatspec diff claims/quickstart.yaml quickstart.tsb
    threatspec diff runs/first second.tsb
    """
    from threatspec.cli._streams import unread_is_no_failure
    from threatspec.reports.bundle import diff, diff_json, diff_lines

    found = diff(old, new)
    with unread_is_no_failure():
        click.echo(diff_json(found) if as_json else "\n".join(diff_lines(found)) or "no difference")
    return 1 if found else 0
