"""`threatspec schema`: the language as JSON Schema, from which editors complete."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from threatspec.errors import ExitCode, ThreatspecError

if TYPE_CHECKING:
    from threatspec.registry import Registry
    from threatspec.schema import Knobs, Offer

__all__ = ["command", "schema_text"]

DEFAULT = Path("schema") / "threatspec.schema.json"
_BENCHMARK = r"^(file:.+|hf:[^/@]+/[^/@]+@[0-9a-f]{40})$"
_MODEL = r"^(specimen|path|gguf|hf):.+$"


@click.command()
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write to FILE instead of standard output.",
    metavar="FILE",
)
@click.option(
    "--check", is_flag=True, help=f"Only compare: FILE [default: {DEFAULT}] must be up to date."
)
def command(output: Path | None, check: bool) -> int:
    """Print the JSON Schema of claims files, for editors.

    \b
    The first line of a claims file names it:
    # yaml-language-server: $schema=../schema/threatspec.schema.json

    \b
    threatspec schema -o schema/threatspec.schema.json
    threatspec schema --check
    """
    if check:
        return _check(output or DEFAULT)
    if output is None:
        click.echo(schema_text(), nl=False)
        return 0
    from threatspec.reports import write_atomic

    output.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(output, schema_text())
    return 0


def schema_text() -> str:
    """The schema as it stands in a file."""
    from threatspec.schema import json_schema

    return json.dumps(json_schema(_offers(), _knobs()), indent=1, ensure_ascii=False) + "\n"


def _check(path: Path) -> int:
    found = path.read_text(encoding="utf-8") if path.is_file() else ""
    if found != schema_text():
        text = f"{path} must be what `threatspec schema -o {path}` writes, but "
        text += "differs" if found else "is not there"
        raise ThreatspecError("TS-SCHEMA-STALE", text, exit_code=ExitCode.SPEC)
    click.echo(f"{path} is up to date")
    return 0


def _offers() -> dict[str, Offer]:
    from threatspec.cli._kinds import KINDS
    from threatspec.schema import Offer

    models = Offer(dict(KINDS["specimens"]()) | dict(KINDS["models"]()), _MODEL)
    benchmarks = _benchmarks()
    splits = {f"{name}#attack_train": says for name, says in benchmarks.items()}
    return {
        "DataSource.source".replace("source", "from"): Offer(
            splits, r"^.+#(attack_train|attack_dev)$"
        ),
        "InstrumentUse.use": Offer(dict(KINDS["instruments"]())),
        "JudgeUse.use": Offer(dict(KINDS["judges"]())),
        "Measure.benchmark": Offer(benchmarks, _BENCHMARK),
        "SafeguardUse.kind": Offer(dict(KINDS["safeguards"]())),
        **{f"Subject.{arm}": models for arm in ("model", "undefended", "control")},
        **{f"{entry}.use": Offer(dict(KINDS["attacks"]())) for entry in ("Link", "Use")},
    }


def _benchmarks() -> dict[str, str]:
    """What ships or is described, wherever the schema is written."""
    from threatspec.measures import BENCHMARKS
    from threatspec.measures.benchmarks import shipped

    here = {name: found.says for name, found in BENCHMARKS.survey()[0].items()}
    return here | {name: about.says for name, about in shipped().items()}


def _knobs() -> dict[str, list[Knobs]]:
    from threatspec.instruments import INSTRUMENTS
    from threatspec.measures import JUDGES
    from threatspec.safeguards import SAFEGUARDS

    attacks = _attack_knobs()
    judges, instruments = _own(JUDGES), _own(INSTRUMENTS)
    return {
        "Use": attacks,
        "Link": attacks,
        "JudgeUse": judges,
        "InstrumentUse": instruments,
        "SafeguardUse": _own(SAFEGUARDS),
    }


def _own(registry: Registry[Any]) -> list[Knobs]:
    """Settings of everything in a registry, each under its own name."""
    from threatspec.schema import Knobs

    return [Knobs([name], registry.get(name).Config) for name in sorted(registry.survey()[0])]


def _attack_knobs() -> list[Knobs]:
    from threatspec.attacks import ATTACKS
    from threatspec.campaign import attack_cards
    from threatspec.loading import find_workspace
    from threatspec.schema import Knobs

    names: dict[str, list[str]] = {kind: [kind] for kind in ATTACKS.survey()[0]}
    for card in attack_cards(find_workspace(Path.cwd())).values():
        names.setdefault(card.attack, []).append(card.name)
    return [Knobs(sorted(set(n)), ATTACKS.get(kind).Config) for kind, n in sorted(names.items())]
