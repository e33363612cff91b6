"""`threatspec list`: every name that YAML can use."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable

import click

from threatspec.cli._options import json_option

__all__ = ["KINDS", "command"]

Entry = tuple[str, str]


def _attacks() -> Iterable[Entry]:
    from threatspec.attacks import ATTACKS
    from threatspec.campaign import attack_cards

    cards = attack_cards()
    yield from ((name, card.says) for name, card in sorted(cards.items()))
    yield from ((name, attack.says) for name, attack in ATTACKS if name not in cards)


def _benchmarks() -> Iterable[Entry]:
    from threatspec.measures import BENCHMARKS

    return ((name, benchmark.says) for name, benchmark in BENCHMARKS)


def _judges() -> Iterable[Entry]:
    from threatspec.measures import JUDGES

    return ((name, judge.says) for name, judge in JUDGES)


def _safeguards() -> Iterable[Entry]:
    from threatspec.safeguards import SAFEGUARDS

    return ((name, safeguard.says) for name, safeguard in SAFEGUARDS)


def _specimens() -> Iterable[Entry]:
    from threatspec.subjects.specimens import SPECIMENS

    return ((f"specimen:{name}", says) for name, says in sorted(SPECIMENS.items()))


def _capabilities() -> Iterable[Entry]:
    from threatspec.schema import Capability

    return ((name.value, "capability of an adversary") for name in Capability)


def _presets() -> Iterable[Entry]:
    from threatspec.schema import PRESETS

    return ((name, " + ".join(sorted(access))) for name, access in PRESETS.items())


def _errors() -> Iterable[Entry]:
    from threatspec.errors import CODES

    return CODES.items()


def _runners() -> Iterable[Entry]:
    from threatspec.resources import shipped

    return ((path.stem, str(path.name)) for path in sorted(shipped("runners").glob("*.yaml")))


KINDS: dict[str, Callable[[], Iterable[Entry]]] = {
    "access": _presets,
    "attacks": _attacks,
    "benchmarks": _benchmarks,
    "capabilities": _capabilities,
    "errors": _errors,
    "judges": _judges,
    "runners": _runners,
    "safeguards": _safeguards,
    "specimens": _specimens,
}


@click.command()
@click.argument("kind", type=click.Choice(list(KINDS)), metavar="KIND")
@json_option
def command(kind: str, as_json: bool) -> int:
    """List everything of one KIND that YAML can name.

    \b
    threatspec list attacks
    """
    entries = list(KINDS[kind]())
    if as_json:
        names = [{"name": name, "says": says} for name, says in entries]
        click.echo(
            json.dumps({"schema": "threatspec/list/v1", "kind": kind, "names": names}, indent=1)
        )
        return 0
    width = max((len(name) for name, _ in entries), default=0)
    for name, says in entries:
        click.echo(f"{name:<{width}}  {says}")
    return 0
