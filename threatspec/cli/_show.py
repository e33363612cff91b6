"""`threatspec show`: one cell, or one prompt with everything that produced its judgement."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from threatspec.cli._options import json_option
from threatspec.cli._show_data import (
    judged,
    outcomes,
    pictures_of,
    replies_of,
    show_json,
    warnings_of,
)
from threatspec.errors import ExitCode, ThreatspecError, did_you_mean
from threatspec.records import Cell, Generation, Ledger, Picture, Row, TrialResult

__all__ = ["command"]


@click.command()
@click.argument("cell", required=False)
@click.option(
    "--run", "folder", required=True, type=click.Path(path_type=Path), help="Results folder."
)
@click.option("--prompt", help="Id of one prompt: show its transcript.")
@json_option
def command(cell: str | None, folder: Path, prompt: str | None, as_json: bool) -> int:
    """Show CELL of a campaign; with --prompt one transcript and how it was judged.

    CELL is the id of a cell, or as much of its start as is unique; without it all cells are listed.

    \b
    threatspec show --run runs/quickstart
    threatspec show cell-3f2a --run runs/quickstart
    threatspec show cell-3f2a --run runs/quickstart --prompt restricted/velmar/017
    """
    with Ledger.open(folder) as ledger:
        if as_json:
            click.echo(show_json(ledger, _find(ledger, cell) if cell else None, prompt))
            return 0
        click.echo("\n".join(_printable(line) for line in _lines(ledger, cell, prompt)))
    return 0


def _lines(ledger: Ledger, name: str | None, prompt: str | None) -> Iterator[str]:
    if name is None:
        return (_title(ledger, cell) for cell in ledger.plan.cells.values())
    cell = _find(ledger, name)
    return _transcript(ledger, cell, prompt) if prompt else _cell(ledger, cell)


def _find(ledger: Ledger, name: str) -> Cell:
    cells = ledger.plan.cells
    close = [cell for cell_id, cell in cells.items() if cell_id.startswith(name)]
    if len(close) != 1:
        trouble = f"{len(close)} cells start with" if close else "no cell is called"
        hint = "; write more of the id" if close else did_you_mean(name, list(cells))
        raise ThreatspecError(
            "TS-UNKNOWN-CELL", f"{trouble} {name!r}{hint}", exit_code=ExitCode.USAGE
        )
    return close[0]


def _title(ledger: Ledger, cell: Cell) -> str:
    procedure = ledger.plan.procedures.get(cell.procedure)
    what = f"{procedure.name if procedure else 'untouched'} on {cell.subject}"
    return f"{cell.id}: {what}, replicate {cell.replicate}"


def _cell(ledger: Ledger, cell: Cell) -> Iterator[str]:
    results = ledger.results()
    procedure = ledger.plan.procedures.get(cell.procedure)
    yield _title(ledger, cell)
    if cell.seeds:
        yield "  seeds " + ", ".join(f"{s}={n}" for s, n in cell.seeds.items())
    if procedure:
        yield f"  config {procedure.config}"
    if cell.attack:
        yield from _attack(results.get(cell.attack))
    for says in warnings_of(ledger, cell, results):
        yield f"  warning: {says}"
    if seen := len({picture.item for picture in pictures_of(ledger, cell)}):
        yield f"  images of {seen} prompts are kept; `threatspec report --html` shows them"
    for measure in cell.measures:
        counts = outcomes(ledger, cell, measure)
        shown = ", ".join(f"{n} {outcome}" for outcome, n in counts.items())
        yield f"  {measure}: {shown or 'not read'}"


def _attack(result: TrialResult | None) -> Iterator[str]:
    if result is None:
        yield "  attack: not run"
        return
    spend = result.spend
    yield (
        f"  attack: {result.status.value}, {spend.steps} steps, {spend.tokens} tokens, "
        f"{spend.flops:.3g} FLOPs, {spend.seconds:.2f} s {result.message}".rstrip()
    )
    for done in result.realised:
        yield (
            f"  realised by {done.backend}: {done.steps} steps over {done.rows} rows, lr "
            f"{min(done.lr):g} to {max(done.lr):g}, loss {done.probe_before:.4g} -> "
            f"{done.probe_after:.4g}, weights moved by {done.weight_delta:.4g} (L2)"
        )
    for edit in result.edits:
        yield (
            f"  edited by {edit.method}: {edit.changed} of {edit.total} entries changed, "
            f"weights moved by {edit.weight_delta:.4g} (L2)"
        )
    for found in result.optimised:
        unit = "tokens" if found.of == "words" else "values"
        yield (
            f"  {found.of} sought by {found.method}: {found.steps} steps, loss "
            f"{found.loss[0]:.4g} -> {found.loss[-1]:.4g}, "
            f"{found.changed} of {found.tokens} {unit} changed"
        )


def _transcript(ledger: Ledger, cell: Cell, prompt: str) -> Iterator[str]:
    found = judged(ledger, cell, prompt)
    replies = replies_of(found)
    yield from map(_picture, pictures_of(ledger, cell, prompt))
    for number, reply in enumerate(replies, 1):
        yield from _reply(reply, number, len(replies), replies[number - 2] if number > 1 else None)
    for measure, _, row in found:
        yield from _judgement(ledger, measure, row)


def _reply(reply: Generation, number: int, many: int, before: Generation | None) -> Iterator[str]:
    """One reply; of several, what was asked is shown where it differs from the one before."""
    if many > 1 or reply.variant:
        asked = reply.variant or "as the claims file says"
        yield f"asked      {asked}" + (f" ({number} of {many})" if many > 1 else "")
    if before is None or before.prompt != reply.prompt:
        yield f"prompt     {reply.prompt}"
    if before is None or before.attacker != reply.attacker:
        yield f"attacker   {reply.attacker or '(nothing)'}"
    why = f"{reply.outcome.value}: {reply.detail}" if reply.outcome else ""
    yield f"reply      {why or reply.reply or '(nothing)'}"
    if reply.scores:
        scores = ", ".join(f"{one:.4g}" for one in reply.scores)
        yield f"choices    {scores} (log-probability, nats)"


def _picture(picture: Picture) -> str:
    changed = "" if picture.change is None else f", changed by at most {picture.change}/255"
    size = f"{picture.height} x {picture.width} pixels"
    return f"image      {picture.stage.value}: {picture.image}, {size}{changed}"


def _judgement(ledger: Ledger, measure: str, row: Row) -> Iterator[str]:
    yield f"{measure:<10} {row.outcome.value}  {row.detail}".rstrip()
    if row.asked > 1:
        rule = ledger.plan.measures[measure].aggregation
        hits = "" if row.hits is None else f", {row.hits} of them count"
        yield f"{'':<10} {rule} of {row.asked} replies{hits}"
    if row.raw:
        yield f"{'':<10} the judge wrote: {row.raw}"


def _printable(text: str) -> str:
    """Model output is hostile input: control characters never reach the terminal."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
