"""`threatspec list`: every name that YAML can use."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

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
    fields, instruments, judges, models, recipes, rules, runners, safeguards, specimens, trainers,
    verdicts.

    \b
    threatspec list attacks
    """
    from threatspec.reports import visible

    if as_json:
        data = {"schema": "threatspec/list/v1", "kind": kind, "names": _names(kind)}
        click.echo(json.dumps(data, indent=1))
    else:
        for line in _lines(kind):
            click.echo(visible(line))
    broken = broken_plugins(kind)
    for error in broken:
        click.echo(visible(f"threatspec: {error}"), err=True)
    return ExitCode.RUN if broken else ExitCode.OK


def _names(kind: str) -> list[dict[str, Any]]:
    if kind == "attacks":
        from threatspec.cli._attack_groups import listed_attacks

        return [attack.data() for attack in listed_attacks()]
    return [{"name": name, "says": says} for name, says in KINDS[kind]()]


def _lines(kind: str) -> Iterator[str]:
    if kind == "attacks":
        from threatspec.cli._attack_groups import grouped_attacks

        yield from grouped_attacks()
        return
    entries = list(KINDS[kind]())
    width = max((len(name) for name, _ in entries), default=0)
    yield from (f"{name:<{width}}  {says}" for name, says in entries)
