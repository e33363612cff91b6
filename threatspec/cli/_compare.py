"""`threatspec compare`: results side by side."""

from __future__ import annotations

from pathlib import Path

import click

from threatspec.cli._options import json_option

__all__ = ["command"]


@click.command()
@click.argument(
    "folders", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="DIR..."
)
@json_option
def command(folders: tuple[Path, ...], as_json: bool) -> int:
    """Set results folders side by side: verdict, worst reading, cheapest break of each claim.

    Of a single folder, its subjects are set side by side. Numbers of measures that are not the same
    measure are not shown next to each other; the cell says why.

    \b
    threatspec compare runs/before runs/after
    threatspec compare runs/quickstart
    """
    from threatspec.api import evidence
    from threatspec.claims import decide
    from threatspec.cli._outcome import terminal
    from threatspec.cli._streams import unread_is_no_failure
    from threatspec.reports import compare, comparison_json, render_comparison

    read = [(_name(folder, folders), evidence(folder)) for folder in folders]
    found = compare([(name, seen, decide(seen)) for name, seen in read])
    with unread_is_no_failure():
        if as_json:
            click.echo(comparison_json(found))
        else:
            render_comparison(terminal(), found)
    return 0


def _name(folder: Path, others: tuple[Path, ...]) -> str:
    """The last part of the path where that tells the folders apart."""
    names = [other.resolve().name for other in others]
    return folder.resolve().name if len(set(names)) == len(names) else str(folder)
