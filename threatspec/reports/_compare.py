"""Runs side by side: one row per claim, one column per run or per subject of one run.

Numbers stand side by side only where the same thing was measured: a measure's identity comes from
its prompts, its judge and their code, and a cell of another identity says so instead.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from threatspec.claims import CampaignVerdict, ClaimVerdict, Evidence
from threatspec.records import PlannedClaim
from threatspec.reports import _words as words
from threatspec.reports._visible import one_line
from threatspec.reports._worst import Run, worst
from threatspec.schema import operands, parse_predicate

__all__ = ["Comparison", "compare", "comparison_json", "render_comparison"]

_ACROSS = 3
"""Columns that fit beside each other into 80 characters."""
_IDENTITY = ("benchmark", "split", "judge", "span", "cluster", "prompts")

Named = tuple[str, Evidence, CampaignVerdict]


@dataclass(frozen=True, slots=True)
class Entry:
    """One claim as one column has it."""

    claim: ClaimVerdict
    planned: PlannedClaim
    evidence: Evidence

    @property
    def worst(self) -> Run | None:
        """The attacked run that speaks most against the claim."""
        return worst([c for c in self.claim.cells if c.arm == "defended"], self.claim.holds)

    @property
    def adversary(self) -> object:
        """The whole threat model, as it was read."""
        return self.evidence.plan.spec.get("adversaries", {}).get(self.claim.adversary)


@dataclass(frozen=True, slots=True)
class Row:
    """One claim in every column; None where a column does not have it."""

    name: str
    holds: str
    entries: tuple[Entry | None, ...]

    @property
    def first(self) -> Entry:
        """What the others are compared with."""
        return next(entry for entry in self.entries if entry)

    def refusal(self, entry: Entry) -> str:
        """Why `entry` cannot be compared with the first; "" if it can."""
        return "; ".join(_differences(self.first, entry))


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything side by side."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]


def compare(runs: Sequence[Named]) -> Comparison:
    """Several runs by claim; one run by subject."""
    if len(runs) == 1:
        return _by_subject(runs[0])
    found: dict[tuple[str, str], dict[int, Entry]] = {}
    for column, run in enumerate(runs):
        for entry in _entries(run):
            found.setdefault((entry.claim.id, entry.claim.holds), {})[column] = entry
    return Comparison(tuple(name for name, _, _ in runs), _rows(found, len(runs)))


def comparison_json(found: Comparison) -> str:
    """`threatspec/comparison/v1`. ASCII only, so control characters stay escapes."""
    rows = [
        {
            "claim": row.name,
            "holds": row.holds,
            "columns": [_data(row, entry) if entry else None for entry in row.entries],
        }
        for row in found.rows
    ]
    data = {"schema": "threatspec/comparison/v1", "columns": list(found.columns), "rows": rows}
    return json.dumps(data, indent=1, allow_nan=False)


def render_comparison(console: Console, found: Comparison) -> None:
    """Print as tables, of no more columns than fit."""
    for start in range(0, len(found.columns), _ACROSS):
        chosen = slice(start, start + _ACROSS)
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="dim")
        for name in ("claim", *found.columns[chosen]):
            table.add_column(one_line(name), overflow="fold")
        for row in found.rows:
            cells = (Text("\n".join(map(one_line, _lines(row, e)))) for e in row.entries[chosen])
            table.add_row(Text(f"{one_line(row.name)}\n{one_line(row.holds)}"), *cells)
            table.add_section()
        console.print(table)


def _by_subject(run: Named) -> Comparison:
    """Claims with one predicate against one adversary stand in one row."""
    entries = list(_entries(run))
    columns = tuple(dict.fromkeys(entry.planned.subject for entry in entries))
    found: dict[tuple[str, str], dict[int, Entry]] = {}
    for entry in entries:
        column, name, again = columns.index(entry.planned.subject), entry.claim.adversary, 1
        key = (f"against {name}", entry.claim.holds)
        while column in found.get(key, {}):
            again += 1
            key = (f"against {name} ({again})", entry.claim.holds)
        found.setdefault(key, {})[column] = entry
    return Comparison(columns, _rows(found, len(columns)))


def _rows(found: dict[tuple[str, str], dict[int, Entry]], width: int) -> tuple[Row, ...]:
    return tuple(
        Row(name, holds, tuple(entries.get(column) for column in range(width)))
        for (name, holds), entries in found.items()
    )


def _entries(run: Named) -> Iterator[Entry]:
    _, evidence, verdict = run
    planned = {one.id: one for one in evidence.plan.claims}
    return (Entry(claim, planned[claim.id], evidence) for claim in verdict.claims)


def _differences(one: Entry, other: Entry) -> Iterator[str]:
    for name in sorted({o.measure for o in operands(parse_predicate(one.claim.holds))}):
        mine, theirs = one.evidence.plan.measures[name], other.evidence.plan.measures[name]
        if mine.id != theirs.id:
            found = [part for part in _IDENTITY if getattr(mine, part) != getattr(theirs, part)]
            what = ", ".join(found) or "the prompts themselves, or the code that judges"
            yield f"not compared: {name} is another measure ({what})"


def _lines(row: Row, entry: Entry | None) -> Iterator[str]:
    if entry is None:
        yield "-"
        return
    refusal = row.refusal(entry)
    if refusal:
        yield refusal
        return
    waived = ", ".join(dict.fromkeys(one.rule for one in entry.claim.waived))
    yield f"{entry.claim.verdict.value}{f', waived: {waived}' if waived else ''}"
    if entry.worst:
        reading = entry.worst.reading
        yield f"worst {words.units(reading)} {words.bounds(reading)}"
        yield f"by {entry.worst.cell.procedure}"
    if entry.claim.witness:
        witness = entry.claim.witness
        yield f"broken by {witness.procedure}: {words.spend(witness.spend)}"
    if entry.adversary != row.first.adversary:
        yield "another adversary"


def _data(row: Row, entry: Entry) -> dict[str, object]:
    refusal, run, witness = row.refusal(entry), entry.worst, entry.claim.witness
    data: dict[str, object] = {
        "id": entry.claim.id,
        "subject": entry.claim.subject,
        "comparable": not refusal,
        "reason": refusal,
        "same_adversary": entry.adversary == row.first.adversary,
    }
    if refusal:
        return data
    shown = {"procedure": run.cell.procedure, "replicate": run.cell.replicate,
             **run.reading.model_dump(mode="json")} if run else None  # fmt: skip
    return {
        **data,
        "verdict": entry.claim.verdict.value,
        "waived": list(dict.fromkeys(one.rule for one in entry.claim.waived)),
        "worst": shown,
        "witness": witness.model_dump(mode="json") if witness else None,
    }
