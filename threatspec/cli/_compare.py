"""`threatspec compare`: results side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from threatspec.cli._options import json_option

if TYPE_CHECKING:
    from threatspec.claims import Evidence

__all__ = ["command"]


@click.command()
@click.argument(
    "folders", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="DIR..."
)
@click.option(
    "--by", default="", metavar="KEY", help="Slices of a key one by one, for example category."
)
@json_option
def command(folders: tuple[Path, ...], by: str, as_json: bool) -> int:
    """Set results folders side by side: verdict, worst reading, cheapest break of each claim.

    Of a single folder, its subjects are set side by side. Numbers of measures that are not the same
    measure are not shown next to each other; the cell says why. Other servings are compared and
    told. --by shows slices that the measure lists under `by`, in percent: untouched -> attacked.

    \b
    threatspec compare runs/before runs/after
    threatspec compare runs/quickstart
    threatspec compare runs/quickstart --by category
    """
    from threatspec.api import evidence
    from threatspec.claims import decide
    from threatspec.cli._outcome import terminal
    from threatspec.cli._streams import unread_is_no_failure
    from threatspec.reports import compare, comparison_json, render_comparison

    read = [(_name(folder, folders), evidence(folder)) for folder in folders]
    if by:
        _check_key(by, [seen for _, seen in read])
    found = compare([(name, seen, decide(seen)) for name, seen in read], by)
    with unread_is_no_failure():
        if as_json:
            click.echo(comparison_json(found))
        else:
            render_comparison(terminal(), found)
    return 0


def _check_key(key: str, read: list[Evidence]) -> None:
    """Raises ThreatspecError TS-USAGE for a key by which nothing was planned to be shown."""
    from threatspec.errors import ExitCode, ThreatspecError, did_you_mean

    measures = [measure for seen in read for measure in seen.plan.measures.values()]
    known = sorted({name.partition("=")[0] for one in measures for name in one.slices})
    if key not in known:
        raise ThreatspecError(
            "TS-USAGE",
            f"--by must be a key of slices that were planned (`by` of a measure), but it is "
            f"{key!r}{did_you_mean(key, known)}",
            exit_code=ExitCode.USAGE,
        )


def _name(folder: Path, others: tuple[Path, ...]) -> str:
    """The last part of the path where that tells the folders apart."""
    names = [other.resolve().name for other in others]
    return folder.resolve().name if len(set(names)) == len(names) else str(folder)
