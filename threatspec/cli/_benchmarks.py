"""`threatspec benchmarks`: take in a file of prompts, and look at one in numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from threatspec.cli._options import json_option
from threatspec.errors import ExitCode, ThreatspecError

if TYPE_CHECKING:
    from threatspec.measures import Benchmark

__all__ = ["command"]


@click.group()
def command() -> None:
    """Take in files of prompts, and look at benchmarks in numbers."""


@command.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--name", help="Name of the benchmark [default: that of the file].")
@click.option(
    "--as", "description", metavar="DESCRIPTION", help="The described benchmark that it is."
)
@click.option("--says", help="What the prompts ask, in one plain sentence.")
@click.option("--licence", help="Under which licence they may be used.")
@click.option("--source", help="Where they come from.")
@click.option("--gated", is_flag=True, default=None, help="Own access is needed to have them.")
@click.option(
    "--column",
    "columns",
    metavar="FIELD=COLUMN",
    multiple=True,
    help="Which column holds a field of an item; `choices` takes several, joined by commas.",
)
@click.option("--slice", "slices", metavar="KEY=COLUMN", multiple=True, help="A further slice.")
@click.option("--split", help="The split of all rows [default: test, if no column says it].")
@click.option(
    "--shares", metavar="SPLIT=SHARE,...", help="Draw splits by the hash of each cluster's name."
)
@click.option(
    "--split-name", "splits", metavar="NAME=SPLIT", multiple=True, help="What the file calls one."
)
@click.option("--label", "labels", metavar="VALUE=yes|no", multiple=True, help="What it means.")
@click.option(
    "--right",
    type=click.Choice(["index", "number", "letter", "text"]),
    help="How the right choice is told.",
)
@click.option("--where", metavar="COLUMN=VALUE", multiple=True, help="Only rows that hold it.")
@click.option("--null-rows", type=click.IntRange(min=1), help="So many rows ask nothing.")
@click.option("--force", is_flag=True, help="Write over a card that is there.")
@json_option
def add(
    file: Path,
    columns: tuple[str, ...],
    slices: tuple[str, ...],
    shares: str | None,
    splits: tuple[str, ...],
    labels: tuple[str, ...],
    where: tuple[str, ...],
    force: bool,
    as_json: bool,
    **told: Any,
) -> int:
    """Write the card of FILE (.jsonl, .csv or .parquet) beside it, and say what was understood.

    Columns are found by their names and values. Nothing in FILE is changed, and a card that is
    there is only written over with --force.

    \b
    threatspec benchmarks add claims/data/mine.csv --licence MIT --column prompt=query
    threatspec benchmarks add claims/data/question.jsonl --as sorry-bench-202503
    """
    from threatspec.cli._benchmark_added import added_data, added_lines
    from threatspec.measures.benchmarks import card_beside, card_of, card_text
    from threatspec.reports import visible, write_atomic

    if not file.is_file():
        raise _usage(f"{file} must be a file of prompts, but is not there")
    card = card_beside(file)
    if card.exists() and not force:
        raise _usage(f"{card} must not be there yet; look at it, or write over it with --force")
    told["shares"] = _shares(shares)
    for key, pairs in (("splits", splits), ("labels", labels), ("where", where)):
        told[key] = _pairs(key, pairs) or None
    found = card_of(
        file, {k: v for k, v in told.items() if v is not None}, _columns(columns, slices)
    )
    write_atomic(card, card_text(found.data))
    if as_json:
        click.echo(json.dumps(added_data(found, card), indent=1))
    else:
        click.echo(visible("\n".join(added_lines(found, file, card))))
    return 0


@command.command()
@click.argument("name")
@click.option("--against", metavar="OTHER", multiple=True, help="Also count prompts of this set.")
@json_option
def audit(name: str, against: tuple[str, ...], as_json: bool) -> int:
    """Show a benchmark in numbers: balance, repetition, overlap, what is missing, lengths.

    NAME and OTHER are names as in claims, or files. No prompt is printed; --json has the ids of
    those that repeat others.

    \b
    threatspec benchmarks audit specimen/restricted --against specimen/benign
    threatspec benchmarks audit claims/data/mine.csv --json
    """
    from threatspec.cli._benchmark_audit import render_audit
    from threatspec.cli._outcome import terminal
    from threatspec.cli._streams import unread_is_no_failure
    from threatspec.measures.benchmarks import audited

    others = [(one, _found(one)) for one in against]
    found = audited(_found(name), others, _categories(name), Path.cwd())
    with unread_is_no_failure():
        if as_json:
            click.echo(json.dumps(found.model_dump(mode="json", by_alias=True), indent=1))
        else:
            render_audit(terminal(), found)
    return 0


def _found(name: str) -> Benchmark:
    """A benchmark by its name in claims, or by the path of its file."""
    from threatspec.measures import benchmark
    from threatspec.measures.benchmarks import file_benchmark

    path = Path(name)
    return file_benchmark(path, Path.cwd()) if path.is_file() else benchmark(name, Path.cwd())


def _categories(name: str) -> list[str]:
    from threatspec.measures.benchmarks import description_of

    about = description_of(name, Path.cwd())
    return [one for domain in about.domains.values() for one in domain.categories] if about else []


def _columns(columns: tuple[str, ...], slices: tuple[str, ...]) -> dict[str, Any]:
    found: dict[str, Any] = dict(_pairs("column", columns))
    if "choices" in found:
        found["choices"] = found["choices"].split(",")
    return {**found, "slices": _pairs("slice", slices)} if slices else found


def _pairs(what: str, given: tuple[str, ...]) -> dict[str, str]:
    pairs = [text.partition("=") for text in given]
    wrong = next(("".join(pair) for pair in pairs if not all(pair)), None)
    if wrong is not None:
        raise _usage(f"each {what} must be two names joined by =, but got {wrong!r}")
    return {left: right for left, _, right in pairs}


def _shares(text: str | None) -> dict[str, float] | None:
    if text is None:
        return None
    pairs = _pairs("share", tuple(text.split(",")))
    try:
        return {split: float(share) for split, share in pairs.items()}
    except ValueError:
        raise _usage(f"a share must be a number from 0 to 1, but got {text!r}") from None


def _usage(message: str) -> ThreatspecError:
    return ThreatspecError("TS-USAGE", message, exit_code=ExitCode.USAGE)
