"""`threatspec list`: every name that YAML can use."""

from __future__ import annotations

import json

import click

from threatspec.cli._kinds import KINDS, broken_plugins
from threatspec.cli._options import json_option
from threatspec.errors import ExitCode

__all__ = ["command"]


@click.command()
@click.argument("kind", type=click.Choice(list(KINDS)), metavar="KIND")
@json_option
def command(kind: str, as_json: bool) -> int:
    """List everything of one KIND that YAML can name, or that a verb or report says.

    KIND is one of access, attacks, benchmarks, capabilities, descriptions, errors, exit-codes,
    fields, judges, models, rules, runners, safeguards, specimens, verdicts.

    \b
    threatspec list attacks
    """
    from threatspec.reports import visible

    entries = list(KINDS[kind]())
    if as_json:
        names = [{"name": name, "says": says} for name, says in entries]
        click.echo(
            json.dumps({"schema": "threatspec/list/v1", "kind": kind, "names": names}, indent=1)
        )
    else:
        width = max((len(name) for name, _ in entries), default=0)
        for name, says in entries:
            click.echo(visible(f"{name:<{width}}  {says}"))
    broken = broken_plugins(kind)
    for error in broken:
        click.echo(visible(f"threatspec: {error}"), err=True)
    return ExitCode.RUN if broken else ExitCode.OK
