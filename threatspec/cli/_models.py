"""`threatspec models`: models that can be used without a hub."""

from __future__ import annotations

import json

import click

from threatspec.cli._options import json_option

__all__ = ["command"]


@click.group()
def command() -> None:
    """Fetch and list models that can be used without a hub."""


@command.command()
@click.argument("name")
def fetch(name: str) -> int:
    """Fetch model NAME once, verify its digest and keep it in the cache.

    \b
    threatspec models fetch smollm2
    """
    from threatspec.subjects import fetch_model

    folder = fetch_model(name)
    click.echo(f"gguf:{name} is ready in {folder}")
    return 0


@command.command("list")
@json_option
def list_(as_json: bool) -> int:
    """List specimens and fetchable models."""
    from threatspec.cli._kinds import KINDS
    from threatspec.subjects import FETCHABLE, is_fetched

    found = [{"name": name, "says": says, "there": True} for name, says in KINDS["specimens"]()]
    for name, package in sorted(FETCHABLE.items()):
        found.append({"name": f"gguf:{name}", "says": package.says, "there": is_fetched(name)})
    if as_json:
        click.echo(json.dumps({"schema": "threatspec/models/v1", "models": found}, indent=1))
        return 0
    for model in found:
        short = str(model["name"]).removeprefix("gguf:")
        missing = "" if model["there"] else f"; get it: threatspec models fetch {short}"
        click.echo(f"{model['name']}  {model['says']}{missing}")
    return 0
