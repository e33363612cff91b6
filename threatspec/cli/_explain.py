"""`threatspec explain`: what a name means, what it needs, its knobs, its source."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from threatspec.cli._options import json_option
from threatspec.errors import ExitCode, ThreatspecError, did_you_mean

if TYPE_CHECKING:
    from threatspec.cli._explanations import Explanation

__all__ = ["command"]


def _complete(context: click.Context, _: click.Parameter, start: str) -> list[Any]:
    from click.shell_completion import CompletionItem

    from threatspec.cli._kinds import KINDS

    entries = (entry for kind in KINDS.values() for entry in kind())
    return [CompletionItem(name, help=says) for name, says in entries if name.startswith(start)]


@click.command()
@click.argument("name", shell_complete=_complete)
@json_option
def command(name: str, as_json: bool) -> int:
    """Explain NAME: whatever `threatspec list` lists.

    Attacks, recipes, benchmarks, judges, instruments, safeguards, models, descriptions, runner
    profiles, access presets, capabilities, verdicts, rules, error codes, exit codes, and fields of
    the language by their dotted path.

    \b
    threatspec explain lora-finetune
    threatspec explain claim.holds
    threatspec explain TS-R1
    threatspec explain TS-BUDGET
    """
    from threatspec.cli._explanations import explanations

    found = list(explanations(name))
    if not found:
        text = f"nothing is called {name!r}{_hint(name, _names())}"
        raise ThreatspecError("TS-UNKNOWN-NAME", text, exit_code=ExitCode.USAGE)
    if as_json:
        data = {"schema": "threatspec/explanation/v1", "meanings": [asdict(one) for one in found]}
        click.echo(json.dumps(data, indent=1, default=str))
    else:
        click.echo("\n\n".join("\n".join(_lines(one)) for one in found))
    return 0


def _hint(name: str, known: list[str]) -> str:
    """Names that end so, such as `specimen:seeing` and `adversary.limits.eps`, else close ones."""
    ending = [repr(one) for one in known if one.endswith((f":{name}", f".{name}"))]
    return f" (did you mean {' or '.join(ending[:4])}?)" if ending else did_you_mean(name, known)


def _names() -> list[str]:
    from threatspec.cli._kinds import KINDS

    return [name for entries in KINDS.values() for name, _ in entries()]


def _lines(found: Explanation) -> Iterator[str]:
    yield f"{found.name} ({found.kind})"
    yield f"  {found.says}"
    for label, text in found.facts:
        yield f"  {label}: {text}"
    if found.knobs:
        yield "  knobs:"
    for knob in found.knobs:
        yield f"    {knob.name} = {_shown(knob.value)}" + (f"   {knob.says}" if knob.says else "")
    if found.text:
        yield ""
        yield found.text
    elif found.kind == "error code":
        yield "  See docs/errors.md for an example and what to do."


def _shown(value: Any) -> str:
    """A setting as it stands in YAML."""
    if value is None:
        return "absent"
    return value if isinstance(value, str) else json.dumps(value, default=str)
