"""`threatspec explain`: what a name means, what it needs, its knobs, its source."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
from pydantic import BaseModel

from threatspec.errors import CODES, ExitCode, ThreatspecError, did_you_mean

__all__ = ["command"]


@click.command()
@click.argument("name")
def command(name: str) -> int:
    """Explain NAME: an attack, judge, benchmark, safeguard, access preset, specimen or error code.

    \b
    threatspec explain lora-finetune
    threatspec explain TS-BUDGET
    """
    found = list(_explain(name))
    if not found:
        hint = did_you_mean(name, _names())
        text = f"nothing is called {name!r}{hint}"
        raise ThreatspecError("TS-UNKNOWN-NAME", text, exit_code=ExitCode.USAGE)
    click.echo("\n\n".join(found))
    return 0


def _names() -> list[str]:
    from threatspec.cli._list import KINDS

    return [name for entries in KINDS.values() for name, _ in entries()]


def _explain(name: str) -> Iterator[str]:
    from threatspec.cli._list import KINDS

    if name in CODES:
        yield f"{name}: {CODES[name]}\nSee docs/errors.md for an example and what to do."
        return
    yield from _attack(name)
    yield from _judge(name)
    yield from _benchmark(name)
    for kind in ("access", "capabilities", "runners", "safeguards", "specimens"):
        yield from (f"{n} ({kind})\n  {says}" for n, says in KINDS[kind]() if n == name)


def _attack(name: str) -> Iterator[str]:
    from threatspec.attacks import ATTACKS
    from threatspec.campaign import attack_cards

    card = attack_cards().get(name)
    if card is None and name not in ATTACKS:
        return
    attack = ATTACKS.get(card.attack if card else name)
    lines = [
        f"{name} ({'attack card' if card else 'attack'})",
        f"  {card.says if card else attack.says}",
    ]
    ways = [" + ".join(sorted(need)) for need in attack.needs] or ["nothing"]
    lines += [f"  needs access: {' or '.join(ways)}", f"  acts on: {attack.surface.value}"]
    if card:
        source = card.source
        lines.append(f"  source: {source.work}, {source.section} ({source.provenance})")
    yield "\n".join([*lines, "  knobs:", *_knobs(attack.Config, card.config if card else {})])


def _knobs(config: type[BaseModel], preset: dict[str, Any]) -> Iterator[str]:
    for name, info in config.model_fields.items():
        value = preset.get(name, "required" if info.is_required() else info.default)
        says = " ".join((info.description or "").split())
        yield f"    {name} = {value}" + (f"   {says}" if says else "")


def _judge(name: str) -> Iterator[str]:
    from threatspec.measures import JUDGES

    if name in JUDGES:
        judge = JUDGES.get(name)
        kind = "exact: no judge error to correct for" if judge.exact else "has an error of its own"
        yield f"{name} (judge)\n  {judge.says}\n  {kind}"


def _benchmark(name: str) -> Iterator[str]:
    from threatspec.measures import BENCHMARKS

    if name in BENCHMARKS:
        found = BENCHMARKS.get(name)
        splits: dict[str, int] = {}
        for item in found.items():
            splits[item.split] = splits.get(item.split, 0) + 1
        counts = ", ".join(f"{n} {split}" for split, n in splits.items())
        yield f"{name} (benchmark)\n  {found.says}\n  prompts: {counts}\n  licence: {found.licence}"
