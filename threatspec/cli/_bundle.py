"""`threatspec bundle`: a results folder as one file to hand on."""

from __future__ import annotations

import json
from pathlib import Path

import click

from threatspec.cli._options import json_option

__all__ = ["command"]


@click.command()
@click.argument("folder", metavar="RUN", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    "target",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write [default: <name of RUN>.tsb].",
)
@click.option(
    "--with-generations",
    is_flag=True,
    help="Also put in every reply in words, and kept images of own files.",
)
@click.option(
    "--receipt",
    "receipts",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file that shows when the plan was there, such as a time stamp or a signed tag; several "
    "times for several.",
)
@json_option
def command(
    folder: Path,
    target: Path | None,
    with_generations: bool,
    receipts: tuple[Path, ...],
    as_json: bool,
) -> int:
    """Write the campaign in results folder RUN to one file, from which all verdicts follow again.

    Plan, results, outcomes, hashes of replies, attempts, labels and verdicts; no names of users,
    machines or folders. A campaign that is not finished can be bundled too, and says so.

    \b
    threatspec bundle runs/quickstart -o quickstart.tsb
    threatspec verify quickstart.tsb
    """
    from threatspec.reports.bundle import write_bundle

    place = target or Path(f"{folder.resolve().name}.tsb")
    written = write_bundle(folder, place, with_generations=with_generations, receipts=receipts)
    if as_json:
        data = {
            "schema": "threatspec/bundle-written/v1",
            "path": str(written.path),
            "sha256": written.sha256,
            "size": written.size,
            "plan_sha256": written.plan_sha256,
            "notes": list(written.notes),
            "manifest": written.manifest.model_dump(mode="json", by_alias=True),
        }
        click.echo(json.dumps(data, indent=1))
        return 0
    from threatspec.cli._outcome import terminal
    from threatspec.reports import print_facts

    facts = [
        ("bundle", f"{written.path}, {written.size:,} bytes"),
        ("sha256", written.sha256),
        ("plan.json", f"{written.plan_sha256} (what a receipt is over)"),
        *(("note", note) for note in written.notes),
    ]
    print_facts(terminal(), facts)
    return 0
