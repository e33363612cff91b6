"""`threatspec models`: models that can be used without a hub."""

from __future__ import annotations

import click

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
def list_() -> int:
    """List specimens and fetchable models."""
    from threatspec.cli._list import KINDS
    from threatspec.subjects import FETCHABLE, is_fetched

    for name, says in KINDS["specimens"]():
        click.echo(f"{name}  {says}")
    for name in sorted(FETCHABLE):
        state = "in the cache" if is_fetched(name) else f"get it: threatspec models fetch {name}"
        click.echo(f"gguf:{name}  {state}")
    return 0
